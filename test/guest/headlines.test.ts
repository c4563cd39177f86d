// At stake: the shapes that made people want guests to tell of free memory: guests that run a memory hog one after the other, how many of them
// a host holds, and an idle guest. The presets of examples/headlines, a sixteenth of the machines that they speak of.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { RunResult } from "#dist/result.js";
import type { Scenario } from "#dist/scenario.js";
import { create, EXAMPLES, type Vm, vmOf } from "../scenes.js";

type FreePages = NonNullable<NonNullable<Vm["guest"]>["freePages"]>;

const second = 1_000_000_000;
const off = { design: "off" } as const;
const reporting = { design: "reporting" } as const;

function preset(name: string, freePages?: FreePages): Scenario {
  const scenario = JSON.parse(readFileSync(join(EXAMPLES, "headlines", `${name}.json`), "utf8")) as Scenario;
  if (freePages !== undefined) for (const { guest: inside } of scenario.vms) inside!.freePages = freePages;
  return scenario;
}

const hogNs = (result: RunResult): number[] =>
  result.vms.map(({ tasks }) => {
    const { startNs, endNs } = tasks.find(({ name }) => name === "hog")!;
    return endNs! - startNs!;
  });

test("without telling, the third of three memory hogs pays for what the others have freed", async () => {
  const result = (await create(preset("one-after-another"))).run();
  const [first, , third] = hogNs(result) as [number, number, number];
  assert.ok(third >= 5 * first, `${third / first}`);
  // 3 to 4 GB at the size that the preset is a sixteenth of.
  const swapped = result.host.swap.slotsUsed * 4096 * 16;
  assert.ok(swapped >= 3e9 && swapped <= 4.3e9, `${swapped} bytes`);
});

for (const design of ["reporting", "hinting"]) {
  test(`with ${design} the third of three memory hogs is as fast as the first, and nothing is swapped`, async () => {
    const scenario = preset(`one-after-another-${design}`);
    const result = (await create(scenario)).run();
    const [first, , third] = hogNs(result) as [number, number, number];
    assert.ok(third <= 1.5 * first, `${third / first}`);
    assert.is(result.host.swap.out, 0);
    // Only what is told, and how, differs from the preset without.
    const untold = preset("one-after-another", scenario.vms[0]!.guest!.freePages!);
    assert.equal([scenario.host, scenario.vms], [untold.host, untold.vms]);
  });
}

test("an array of 1,000 places does not fill in a guest of a sixteenth: the patch tells nothing", async () => {
  const result = (await create(preset("one-after-another", { design: "hinting-2019" }))).run();
  const [first, , third] = hogNs(result) as [number, number, number];
  assert.ok(third >= 5 * first, `${third / first}`);
  assert.equal(
    result.vms.map(({ freePages }) => freePages.requests),
    [0, 0, 0],
  );
});

test("two guests fit without telling, five with", async () => {
  const guests = async (count: number, freePages: FreePages): Promise<string> => {
    const scenario = preset("how-many-guests", freePages);
    return (await create({ ...scenario, vms: scenario.vms.slice(0, count) })).run().status;
  };
  assert.is(await guests(2, off), "done");
  assert.is(await guests(3, off), "oom");
  assert.is(await guests(5, reporting), "done");
});

test("an idle guest has given back what it freed within a minute", async () => {
  // A sixteenth of the preset; a pass of a short list is a larger part of it.
  const scenario = preset("idle-guest", reporting);
  scenario.host.memory = "2304MiB";
  scenario.vms[0]!.memory = "2GiB";
  scenario.vms[0]!.guest!.tasks![0]!.workload = { kind: "process", pages: 491_520 };
  const machine = await create(scenario);
  machine.run({ time: 2 * second });
  assert.is(vmOf(machine.result()).tasks[0]!.endNs === null, false);
  let settledAt = 0;
  for (let at = 2; at <= 60; at += 2) {
    machine.run({ time: 2 * second });
    const { freed, released } = vmOf(machine.result()).freePages;
    if (settledAt === 0 && released >= 0.95 * freed) settledAt = at;
  }
  assert.ok(settledAt >= 10 && settledAt <= 60, `${settledAt} s`);
});

test.run();
