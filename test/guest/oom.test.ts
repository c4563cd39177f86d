// At stake: what a guest without memory gets of its balloon, and what that costs. The pages come back over the deflate queue: the task that
// found none announces them, and sleeps until the host has answered.

import { test } from "uvu";
import * as assert from "uvu/assert";
import type { VmResult } from "#dist/result.js";
import type { Scenario } from "#dist/scenario.js";
import { create, type Task, type Vm } from "../scenes.js";

const process = (pages: number, others = {}): Task["workload"] => ({ kind: "process", pages, ...others });

/** A guest of 16 MiB, half of it in the balloon. */
function guest(tasks: Task[], others: Partial<Scenario> = {}, vm: Partial<Vm> = {}): Scenario {
  const balloon = { target: "8MiB", deflateOnOom: true };
  return {
    host: { memory: "64MiB" },
    vms: [{ name: "db", memory: "16MiB", ...vm, guest: { balloon, tasks } }],
    ...others,
  };
}

const late: Task = { name: "late", start: "500ms", workload: process(3000) };

async function run(scenario: Scenario): Promise<VmResult> {
  const machine = await create({ ...scenario, check: { integrity: true } });
  const { status, vms } = machine.run();
  assert.is(status, "done");
  assert.equal([vms[0]!.integrity.lostWrites, vms[0]!.integrity.staleReads], [0, 0]);
  return vms[0]!;
}

test("a balloon that deflates on OOM gives way, another one does not", async () => {
  for (const [deflateOnOom, killed] of [
    [true, 0],
    [false, 1],
  ] as const) {
    const scenario = guest([late]);
    scenario.vms[0]!.guest!.balloon = { target: "8MiB", deflateOnOom };
    const { balloon, guestMemory } = await run(scenario);
    assert.is(guestMemory.killed, killed);
    assert.is(balloon.pages < 2048, deflateOnOom);
    assert.is(balloon.pages + balloon.deflated, balloon.inflated);
  }
});

test("256 pages a request, and the balloon keeps the size that it has come to until the host sets another one", async () => {
  const idle: Task = { name: "idle", workload: process(1, { repeat: 2, pause: "2s" }) };
  const scenario = guest([late, idle]);
  const { balloon, guestMemory } = await run(scenario);
  const given = balloon.deflatedOnOom / 256;
  assert.ok(given >= 4 && Number.isInteger(given), `${given} requests`);
  assert.equal(balloon, {
    pages: 2048 - 256 * given,
    requests: 8 + given,
    inflated: 2048,
    deflated: 256 * given,
    deflatedOnOom: 256 * given,
  });
  // The late task is over for a second and a half, and its memory is free.
  assert.ok(guestMemory.freePages > 3000);
  const asked = await run({ ...scenario, events: [{ at: "1s", vm: "db", do: "balloon", size: "8MiB" }] });
  assert.equal([asked.balloon.pages, asked.balloon.deflatedOnOom], [2048, balloon.deflatedOnOom]);
});

test("each request costs a kick, the host's thread, and an interrupt, for which the task sleeps", async () => {
  const at = async (virtqKickNs: number, irqInjectIdleNs: number): Promise<VmResult> =>
    run(guest([late], { costs: { virtqKickNs, irqInjectIdleNs } }));
  const cheap = await at(100_000, 2000);
  const kick = await at(300_000, 2000);
  const interrupt = await at(100_000, 52_000);
  const requests = cheap.balloon.deflatedOnOom / 256;
  assert.ok(requests > 0);
  const endNs = ({ tasks }: VmResult): number => tasks[0]!.endNs!;
  assert.is(endNs(kick) - endNs(cheap), 200_000 * requests);
  assert.is(endNs(interrupt) - endNs(cheap), 50_000 * requests);
  const { waitNs } = cheap.tasks[0]!;
  assert.ok(waitNs >= requests * 100_000 && waitNs <= requests * 110_000, `${waitNs} ns asleep`);
});

test("another task runs while one waits for the host", async () => {
  const other: Task = { name: "other", start: "500ms", workload: { kind: "compute", time: "20ms" } };
  const { tasks } = await run(guest([late, other], { costs: { virtqKickNs: 1_000_000 } }));
  assert.ok(tasks[0]!.waitNs > 3_900_000);
  // Alone, the second task would have the vCPU for the half of the time; the sleeps of the first are its gain.
  assert.ok(tasks[1]!.runNs >= 20_000_000 && tasks[1]!.readyNs < tasks[1]!.runNs);
});

test("two tasks without memory: one waits for the host, the other one for it", async () => {
  const tasks: Task[] = [0, 1].map((vcpu) => ({
    name: `on-${vcpu}`,
    vcpu,
    start: "500ms",
    workload: process(1700),
  }));
  const costs = { virtqKickNs: 1_000_000 };
  const scenario = guest(tasks, { host: { memory: "64MiB", cpus: 3 }, costs }, { vcpus: 2 });
  const { balloon, guestMemory, tasks: ended } = await run(scenario);
  assert.is(guestMemory.killed, 0);
  const requests = balloon.deflatedOnOom / 256;
  assert.ok(requests >= 3);
  assert.is(balloon.requests, 8 + requests);
  const waits = ended.map(({ waitNs }) => waitNs);
  // The host takes a millisecond to answer; who waits for the other task wakes up a tick of 4 ms later.
  const ticks = Math.round((waits[0]! + waits[1]! - requests * 1_000_000) / 4_000_000);
  assert.ok(ticks >= 1 && Math.min(...waits) > 1_000_000, `${waits} ns, ${requests} requests`);
});

test("a request of the driver that is on its way comes first", async () => {
  // The host's thread takes 50 ms to wake up: the task finds no memory in the middle of the driver's first request.
  const tasks: Task[] = [{ name: "late", start: "10ms", workload: process(3900) }];
  const {
    balloon,
    tasks: ended,
    guestMemory,
  } = await run(guest(tasks, { costs: { virtqKickNs: 50_000_000 } }));
  assert.is(guestMemory.killed, 0);
  assert.ok(balloon.deflatedOnOom > 0);
  assert.ok(ended[0]!.waitNs > 50_000_000);
  assert.is(balloon.inflated - balloon.deflated, balloon.pages);
});

test("an empty balloon has nothing to give: the task is killed", async () => {
  const { balloon, guestMemory } = await run(guest([{ start: "500ms", workload: process(5000) }]));
  assert.is(guestMemory.killed, 1);
  assert.equal([balloon.pages, balloon.deflatedOnOom], [0, 2048]);
});

test("nobody gives way for a block of 64 KiB", async () => {
  const blocks = { kind: "churn" as const, pages: 2600, accesses: 8000 };
  const large: Task = { start: "500ms", workload: { ...blocks, orders: [0, 0, 0, 0, 1] } };
  const small: Task = { start: "500ms", workload: { ...blocks, orders: [0, 0, 0, 1] } };
  assert.is((await run(guest([large]))).balloon.deflatedOnOom, 0);
  assert.ok((await run(guest([small]))).balloon.deflatedOnOom > 0);
});

test.run();
