// At stake: what a user gets from the registry. The package is packed, its tarball installed into an empty folder, and there the README's
// library example is checked under strict types and run, and the executable run. Needs the registry (or npm's cache) for the dependencies.

import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { RunResult } from "#dist/result.js";
import { create, example, ROOT } from "./scenes.js";

const test = suite("", { folder: mkdtempSync(join(tmpdir(), "pagevisor-pack-")), installed: false });
test.after(({ folder }) => rmSync(folder, { recursive: true, force: true }));

function run(command: string, args: string[], cwd: string): string {
  const { status, stdout, stderr, error } = spawnSync(command, args, { cwd, encoding: "utf8" });
  assert.is(status, 0, `${command} ${args.join(" ")}: ${error?.message ?? ""}\n${stdout}\n${stderr}`);
  return stdout;
}

/** The README's example: its first block of TypeScript. */
function readmeExample(): string {
  const found = /^```ts\n(.*?)^```$/ms.exec(readFileSync(join(ROOT, "README.md"), "utf8"));
  assert.ok(found, "README.md has no block of TypeScript");
  return found![1]!;
}

interface Packed {
  filename: string;
  files: { path: string; size: number }[];
}

// The build is not repeated (--ignore-scripts): the tests that run beside this one stand on it.
test("the tarball holds what runs and nothing that it is made from", ({ folder }) => {
  const args = ["pack", "--ignore-scripts", "--json", "--pack-destination", folder];
  const [packed] = JSON.parse(run("npm", args, ROOT)) as [Packed];
  const paths = packed.files.map(({ path }) => path).sort();
  for (const needed of [
    "LICENSE",
    "README.md",
    "CHANGELOG.md",
    "package.json",
    "build/core.wasm",
    "dist/index.js",
    "dist/index.d.ts",
    "dist/cli.js",
    "dist/schema.json",
    "examples/overcommit.json",
    "examples/traces/sqlite_build_query.u32.gz",
  ]) {
    assert.ok(paths.includes(needed), needed);
  }
  const others = paths.filter(
    (path) => !/^(dist|examples)\/|^build\/core\.wasm$|^[A-Z]+(\.md)?$|^package\.json$/.test(path),
  );
  assert.equal(others, []);
  assert.equal(
    paths.filter((path) => /(?<!\.d)\.ts$|\.test\.|\.wat$|debug/.test(path)),
    [],
  );
  const bytes = packed.files.reduce((sum, { size }) => sum + size, 0);
  assert.ok(bytes < 3.5 * 2 ** 20, `${bytes} bytes`);
  writeFileSync(join(folder, "tarball"), packed.filename);
});

test("it installs into an empty folder with its dependencies alone", (context) => {
  const { folder } = context;
  const tarball = join(folder, readFileSync(join(folder, "tarball"), "utf8"));
  writeFileSync(
    join(folder, "package.json"),
    JSON.stringify({ name: "user", private: true, type: "module" }),
  );
  run("npm", ["install", "--no-audit", "--no-fund", "--prefer-offline", "--omit=dev", tarball], folder);
  const manifest = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as { dependencies: object };
  const installed = JSON.parse(run("npm", ["ls", "--json", "--all"], folder)) as {
    dependencies: { pagevisor: { dependencies: object } };
  };
  assert.equal(
    Object.keys(installed.dependencies.pagevisor.dependencies).sort(),
    Object.keys(manifest.dependencies).sort(),
  );
  context.installed = true;
});

test("the README's example is right under strict types, and runs", ({ folder, installed }) => {
  assert.ok(installed);
  writeFileSync(join(folder, "example.ts"), readmeExample());
  const compilerOptions = {
    target: "es2022",
    module: "nodenext",
    lib: ["es2022", "dom"],
    strict: true,
    noUncheckedIndexedAccess: true,
    exactOptionalPropertyTypes: true,
    skipLibCheck: false,
    types: [],
  };
  writeFileSync(join(folder, "tsconfig.json"), JSON.stringify({ compilerOptions, files: ["example.ts"] }));
  run(process.execPath, [join(ROOT, "node_modules/typescript/bin/tsc"), "-p", folder], folder);
  const lines = run(process.execPath, ["example.js"], folder).trimEnd().split("\n");
  assert.is(lines.length, 2);
  const [free, limited] = lines.map((line, index) => {
    assert.ok(line.startsWith(index === 0 ? "no limit: " : "32 MiB: "), line);
    const found = /^[^:]+: (\d+) accesses\/s, (\d+) major faults, p99 (\d+) ns$/.exec(line);
    assert.ok(found, line);
    return { throughput: Number(found![1]), faults: Number(found![2]) };
  });
  assert.ok(limited!.throughput < free!.throughput && limited!.faults > free!.faults);
});

test("the executable runs the preset, with the digest that it has here", async ({ folder, installed }) => {
  assert.ok(installed);
  const text = run("npx", ["--no-install", "pagevisor", "run", "overcommit", "--no-rows", "--json"], folder);
  const result = JSON.parse(text) as RunResult;
  assert.is(result.status, "done");
  assert.is(result.digest, (await create(example())).run().digest);
});

test("core, schema and package.json can be asked for by name", ({ folder, installed }) => {
  assert.ok(installed);
  const script = [
    'import { readFileSync } from "node:fs";',
    'import { Machine, VERSION } from "pagevisor";',
    'const read = (name) => readFileSync(new URL(import.meta.resolve("pagevisor/" + name)));',
    'const module = await WebAssembly.compile(read("core.wasm"));',
    'const scenario = { host: { memory: "8MiB" }, vms: [{ name: "db", memory: "1MiB" }] };',
    "const machine = await Machine.create(scenario, { module });",
    'const { version } = JSON.parse(read("package.json"));',
    'const { title } = JSON.parse(read("schema.json"));',
    "console.log(JSON.stringify([machine.run().status, version === VERSION, title]));",
  ];
  writeFileSync(join(folder, "names.js"), script.join("\n"));
  assert.is(run(process.execPath, ["names.js"], folder).trim(), '["done",true,"pagevisor scenario"]');
});

test("one file and a thread can be asked for by name, and have the digest that the library has", ({
  folder,
  installed,
}) => {
  assert.ok(installed);
  const script = [
    'import { Machine } from "pagevisor";',
    'import { Machine as Inline } from "pagevisor/inline";',
    'import { runInWorker } from "pagevisor/worker";',
    'const tasks = [{ workload: { kind: "uniform", pages: 200, writes: 0.5, accesses: 5000 } }];',
    'const host = { memory: "8MiB", swap: [{ kind: "nvme", size: "4MiB" }] };',
    'const scenario = { host, vms: [{ name: "db", memory: "1MiB", memoryMax: "512KiB", guest: { tasks } }] };',
    "const machines = [await Machine.create(scenario), await Inline.create(scenario)];",
    "const results = [...machines.map((machine) => machine.run()), await runInWorker(scenario)];",
    "console.log(JSON.stringify([new Set(results.map(({ digest }) => digest)).size, results[2].host.swap.in > 100]));",
  ];
  writeFileSync(join(folder, "entries.js"), script.join("\n"));
  assert.is(run(process.execPath, ["entries.js"], folder).trim(), "[1,true]");
});

test.run();
