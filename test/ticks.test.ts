// At stake: looking at a run while it goes on. The ticks must lie on multiples of virtual time, sum to the run, come the same every time and
// change nothing of it.

import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Tick, TickOptions } from "#dist/machine.js";
import { assertSame, create, lasting, refusal, roomy, small } from "./scenes.js";

const ENDLESS = roomy([{ workload: { kind: "uniform", pages: 100 } }]);

async function ticksOf(options: TickOptions): Promise<Tick[]> {
  const machine = await create(...small(2000));
  const ticks: Tick[] = [];
  for await (const tick of machine.ticks(options)) ticks.push(tick);
  return ticks;
}

test("ticks lie on multiples of the interval and at the end, and sum to the run", async () => {
  const machine = await create(...small(2000));
  const whole = machine.run();
  const seen = await create(...small(2000));
  const ticks: Tick[] = [];
  for await (const tick of seen.ticks({ every: "1ms" })) ticks.push(tick);
  assert.ok(ticks.length > 5, `${ticks.length} ticks`);
  for (const [index, { virtualTimeNs, last }] of ticks.entries()) {
    assert.is(last, index === ticks.length - 1);
    // What was under way when the millisecond was over ends a little later.
    if (!last) assert.ok(virtualTimeNs >= (index + 1) * 1e6 && virtualTimeNs < (index + 2) * 1e6);
  }
  assert.is(ticks.at(-1)!.virtualTimeNs, whole.virtualTimeNs);
  for (const counted of [
    ({ result }: Tick) => result.accesses,
    ({ result }: Tick) => result.virtualTimeNs,
    ({ result }: Tick) => result.host.swap.out,
    ({ result }: Tick) => result.vms[1]!.faults.major.count,
  ]) {
    const sum = ticks.reduce((total, tick) => total + counted(tick), 0);
    assert.is(sum, counted({ result: whole } as Tick));
  }
  assertSame(seen.result(), machine.result());
});

test("the same ticks come every time", async () => {
  const plain = (ticks: Tick[]) => ticks.map((tick) => ({ ...tick, result: lasting(tick.result) }));
  const options: TickOptions = { every: 700_000, limit: { accesses: 3000 } };
  const first = await ticksOf(options);
  assert.is(first.at(-1)!.result.stoppedBy, "accesses");
  assert.is(
    first.reduce((sum, { result }) => sum + result.accesses, 0),
    3000,
  );
  assert.equal(plain(await ticksOf(options)), plain(first));
});

test("a loop that is left leaves the machine where it stands, and it goes on from there", async () => {
  const machine = await create(...small(2000));
  for await (const { virtualTimeNs } of machine.ticks({ every: "1ms" })) if (virtualTimeNs > 3e6) break;
  const { virtualTimeNs } = machine.result();
  assert.ok(virtualTimeNs > 3e6 && virtualTimeNs < 5e6);
  machine.run();
  const whole = await create(...small(2000));
  whole.run();
  assertSame(machine.result(), whole.result());
});

test("an abort ends the ticks with one that says so", async () => {
  const machine = await create(ENDLESS);
  const interrupt = new AbortController();
  const statuses: string[] = [];
  for await (const { result } of machine.ticks({
    every: "1ms",
    limit: { time: "1000s" },
    signal: interrupt.signal,
  })) {
    statuses.push(result.status);
    if (statuses.length === 3) interrupt.abort();
  }
  assert.equal(statuses, ["done", "done", "done", "interrupted"]);
});

test("pieces too short for a look at the event loop get one between them: a signal comes, progress is told", async () => {
  const machine = await create(ENDLESS);
  const interrupt = new AbortController();
  setTimeout(() => interrupt.abort(), 60);
  let told = 0;
  let last: string | undefined;
  for await (const { result } of machine.ticks({
    every: 500,
    limit: { time: "1000s" },
    signal: interrupt.signal,
    onProgress: () => told++,
  })) {
    last = result.status;
  }
  assert.is(last, "interrupted");
  assert.ok(told >= 1);
});

test("an interval that is none and a run without an end are refused", async () => {
  const machine = await create(ENDLESS);
  for (const every of [0, -1, Number.NaN, "", "10", "10 parsecs"]) {
    assert.match(
      await refusal(() => machine.ticks({ every, limit: { accesses: 1 } }).next(), "E_LIMIT"),
      /^every: /,
    );
  }
  await refusal(() => machine.ticks({ every: "1ms" }).next(), "E_ENDLESS");
});

test.run();
