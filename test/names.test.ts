// At stake: names that stand in two places. What the bindings call by name must exist in the core and the other way round, and
// docs/costs.md must say what the core charges: its tables are read here and compared, number by number.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Core, constantName, coreModule } from "#dist/core.js";
import { COST_KEYS, COST_MEANINGS, LATER_COST_KEYS } from "#dist/costkeys.js";
import { TRACEPOINTS, VERSION } from "#dist/index.js";
import { COST_PRESETS, SWAP_KINDS } from "#dist/schema.js";
import { ROOT } from "./scenes.js";

const core = new Core(await coreModule());

/** The rows of the table of docs/costs.md under `heading`, by column. */
function tableOf(heading: string): Record<string, string>[] {
  const text = readFileSync(join(ROOT, "docs/costs.md"), "utf8");
  const section = text.split(/^## /m).find((part) => part.startsWith(`${heading}\n`));
  assert.ok(section, heading);
  const rows = section!
    .split("\n")
    .filter((line) => line.startsWith("|"))
    .map((line) =>
      line
        .split("|")
        .slice(1, -1)
        .map((cell) => cell.trim().replaceAll("`", "")),
    );
  const [head, , ...body] = rows;
  return body.map((cells) => Object.fromEntries(head!.map((name, index) => [name, cells[index]!])));
}

const sorted = (names: Iterable<string>): string[] => [...names].sort();

test("a name of the scenario has its constant's name", () => {
  for (const [name, constant] of [
    ["vmExitNs", "VM_EXIT_NS"],
    ["tlbWalk2dNs", "TLB_WALK2D_NS"],
    ["shootdownPerCpuNs", "SHOOTDOWN_PER_CPU_NS"],
    ["zram-lz4", "ZRAM_LZ4"],
    ["nehalem-hdd-2010", "NEHALEM_HDD_2010"],
  ] as const) {
    assert.is(constantName(name), constant);
  }
});

test("every cost key is a COST_ of the core, and every COST_ a key", () => {
  assert.equal(sorted(core.constants("COST_").keys()), sorted(COST_KEYS.map(constantName)));
  assert.is(new Set(core.constants("COST_").values()).size, COST_KEYS.length);
  const later = LATER_COST_KEYS.filter((key) => key in COST_MEANINGS);
  assert.equal(later, [], "a cost that is charged is not one of later");
});

test("every kind of swap device is a DEVICE_ of the core, and every preset of costs a PRESET_", () => {
  const flags = ["SYNCHRONOUS", "ROTATIONAL"];
  const devices = [...core.constants("DEVICE_").keys()].filter((name) => !flags.includes(name));
  assert.equal(sorted(devices), sorted(SWAP_KINDS.map(constantName)));
  assert.equal(sorted(core.constants("PRESET_").keys()), sorted(COST_PRESETS.map(constantName)));
});

test("every tracepoint is a TRACE_ of the core, and every TRACE_ has a format", () => {
  assert.equal(
    sorted(core.constants("TRACE_").keys()),
    sorted(TRACEPOINTS.map((name) => name.toUpperCase())),
  );
});

test("every kind of workload but compute is a WORKLOAD_ of the core", () => {
  const kinds = ["trace", "zipf", "uniform", "sequential", "hotcold"];
  assert.equal(sorted(core.constants("WORKLOAD_").keys()), sorted(kinds.map(constantName)));
});

test("the core's prices are those of docs/costs.md", () => {
  const rows = tableOf("Prices");
  assert.equal(
    rows.map((row) => row.key),
    COST_KEYS,
  );
  for (const preset of COST_PRESETS) {
    core.call.liveCosts(core.constant(`PRESET_${constantName(preset)}`));
    for (const row of rows) {
      const price = core.call.cost(core.constant(`COST_${constantName(row.key!)}`)) >>> 0;
      assert.is(`${price}`, row[preset], `${row.key}, ${preset}`);
    }
  }
});

test("a price lies in the range that is plausible", () => {
  for (const row of tableOf("Prices").filter((each) => each["plausible on bare metal"] !== "–")) {
    const [least, most] = row["plausible on bare metal"]!.split("–").map((text) =>
      Number(text.replaceAll(",", "")),
    );
    const price = Number(row["bare-metal"]);
    assert.ok(price >= least! && price <= most!, row.key);
  }
});

test("the core's swap devices are those of docs/costs.md", () => {
  const rows = tableOf("Swap devices");
  assert.equal(
    rows.map((row) => row.kind),
    [...SWAP_KINDS],
  );
  const natures: Record<string, number> = {
    queue: 0,
    synchronous: core.constant("DEVICE_SYNCHRONOUS"),
    rotational: core.constant("DEVICE_ROTATIONAL"),
  };
  for (const row of rows) {
    const kind = core.constant(`DEVICE_${constantName(row.kind!)}`);
    const figures = ["readNs", "writeNs", "servers", "readBytesPerUs", "writeBytesPerUs"];
    for (const [field, name] of figures.entries()) {
      assert.is(`${core.call.devicePreset(kind, field) >>> 0}`, row[name], `${row.kind}, ${name}`);
    }
    assert.is(core.call.devicePreset(kind, 5) >>> 0, natures[row.nature!], `${row.kind}, nature`);
  }
});

test("the version is that of package.json, and CHANGELOG.md knows it", () => {
  const manifest = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as { version: string };
  assert.is(VERSION, manifest.version);
  assert.match(
    readFileSync(join(ROOT, "CHANGELOG.md"), "utf8"),
    new RegExp(`^## ${VERSION.replaceAll(".", "\\.")}\\b`, "m"),
  );
});

test("docs/dependencies.md says of every dependency why it is there, and of no other", () => {
  const manifest = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as Record<string, object>;
  const rows = readFileSync(join(ROOT, "docs/dependencies.md"), "utf8").matchAll(
    /^\| ((?:`[^`]+`(?:, )?)+)/gm,
  );
  const told = [...rows].flatMap(([, names]) => [...names!.matchAll(/`([^`]+)`/g)].map(([, name]) => name!));
  const needed = [...Object.keys(manifest.dependencies!), ...Object.keys(manifest.devDependencies!)];
  assert.equal(sorted(told), sorted(needed));
});

test("the documents are read by the links between them", () => {
  for (const file of [
    "README.md",
    "CONTRIBUTING.md",
    "docs/model.md",
    "docs/costs.md",
    "docs/result.md",
    "docs/sweep.md",
  ]) {
    const text = readFileSync(join(ROOT, file), "utf8");
    for (const [, target] of text.matchAll(/\]\((?!https?:|#)([^)#]+)(?:#[^)]*)?\)/g)) {
      const path = join(ROOT, file, "..", target!);
      assert.not.throws(() => readFileSync(path), undefined, `${file} links to ${target}`);
    }
  }
});

test.run();
