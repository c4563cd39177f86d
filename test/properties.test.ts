// At stake: what must hold for every run of every scenario. Random whole scenarios run on the debug core, cut into slices, with every
// structure walked after each slice: nothing may be lost or read stale, stages must sum to latencies, and one history must come out
// however a run is cut, and across a snapshot.

import { readFileSync } from "node:fs";
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type Limit, Machine, type RunResult } from "#dist/index.js";
import { parameters } from "./reference/report.js";
import { scenarios, type Whole } from "./reference/scenarios.js";

const module = new WebAssembly.Module(readFileSync(new URL("../../build/debug.wasm", import.meta.url)));
const SLICES = 60;
const RESTORE_AFTER = 2;
const KINDS = ["minor", "major", "spurious", "writeProtect"] as const;

function create({ scenario, files }: Whole): Promise<Machine> {
  return Machine.create(scenario, { files, module });
}

/** The end of a run, as far as it must not depend on how the run was cut. */
function endOf({ digest, status, stoppedBy, oom, virtualTimeNs, accesses, vms, host }: RunResult): unknown {
  return { digest, status, stoppedBy, oom, virtualTimeNs, accesses, vms, host };
}

function checkResult(result: RunResult): void {
  for (const vm of result.vms) {
    for (const kind of KINDS) {
      const { count, latency, stages } = vm.faults[kind];
      const sum = Object.values(stages).reduce((total, ns) => total + ns, 0);
      assert.is(sum, Math.round(count * latency.mean), `${vm.name}: stages of ${kind} faults`);
    }
    const { lostWrites, staleReads, unreachablePins } = vm.integrity;
    assert.equal(
      { lostWrites, staleReads, unreachablePins },
      { lostWrites: 0, staleReads: 0, unreachablePins: 0 },
    );
  }
  assert.is.not(result.status, "violation");
}

/** Runs `accesses` accesses in slices, the last one without a limit of time. */
async function runCut(start: Machine, accesses: number, limit: (slice: number) => Limit): Promise<Machine> {
  let machine = start;
  let made = 0;
  for (let slice = 0; made < accesses; slice++) {
    const left = accesses - made;
    const next = slice < SLICES ? limit(slice) : {};
    const result = machine.run({ ...next, accesses: Math.min(next.accesses ?? left, left) });
    made += result.accesses;
    checkResult(result);
    machine.check();
    if (result.stoppedBy !== "accesses" && result.stoppedBy !== "time") break;
    if (slice === RESTORE_AFTER) machine = await Machine.restore(machine.snapshot(), { module });
  }
  return machine;
}

test("a run is sound after every slice, and one history however it is cut", async () => {
  await fc.assert(
    fc.asyncProperty(scenarios, async (whole) => {
      const { accesses, accessSlices, timeSlicesNs } = whole;
      const uncut = await create(whole);
      checkResult(uncut.run({ accesses }));
      uncut.check();
      const expected = endOf(uncut.result());

      const byAccesses = await runCut(await create(whole), accesses, (slice) => ({
        accesses: accessSlices[slice % accessSlices.length]!,
      }));
      assert.equal(endOf(byAccesses.result()), expected, "cut by accesses");

      const byTime = await runCut(await create(whole), accesses, (slice) => ({
        time: timeSlicesNs[slice % timeSlicesNs.length]!,
      }));
      // A slice of time may end between the last access and the point at which a limit of accesses stops.
      if (byTime.result().stoppedBy === "time") return;
      assert.equal(endOf(byTime.result()), expected, "cut by time");
    }),
    parameters(Number(process.env.PROPERTY_RUNS ?? 100)),
  );
});

test.run();
