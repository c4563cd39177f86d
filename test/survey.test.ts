// At stake: that what a look into a machine says adds up and agrees with what is counted elsewhere: frames by state with the free lists, a VM's
// pages with its result, vCPUs with tasks, tokens with the tasks that sleep for them. Looking must change nothing.

import { test } from "uvu";
import * as assert from "uvu/assert";
import { Machine } from "#dist/machine.js";
import type { Scenario } from "#dist/scenario.js";
import type { InspectedHost } from "#dist/survey.js";
import { debugModule, refusal } from "./scenes.js";

const module = await debugModule;

/** Two guests that do not fit: one under asynchronous page faults, one with a balloon and memory management of its own. */
const scenario: Scenario = {
  host: { memory: "6MiB", cpus: 2, swap: [{ kind: "sata-ssd", size: "16MiB" }] },
  vms: [
    {
      name: "db",
      memory: "4MiB",
      memoryMax: "1MiB",
      vcpus: 2,
      asyncPf: { design: "2010" },
      guest: {
        tasks: [
          {
            name: "reader",
            count: 4,
            workload: { kind: "uniform", pages: 200, writes: 0.5, accesses: 4000 },
          },
          { name: "late", start: "1s", workload: { kind: "uniform", pages: 10, accesses: 10 } },
        ],
      },
    },
    {
      name: "cache",
      memory: "4MiB",
      guest: {
        balloon: { target: "512KiB" },
        tasks: [{ name: "churn", workload: { kind: "churn", pages: 300, accesses: 4000 } }],
      },
    },
  ],
};

const blocks = (orders: number[]): number =>
  orders.reduce((sum, count, order) => sum + count * 2 ** order, 0);

/** What every memory must fulfil. */
function adds(memory: InspectedHost, frames: number): void {
  const { total, swapCache, writeback, ...states } = memory.frames;
  assert.is(
    Object.values(states).reduce((sum, count) => sum + count, 0),
    total,
  );
  assert.ok(total >= frames && swapCache <= total && writeback <= total);
  const listed = memory.zones.reduce(
    (sum, { freeBlocks }) => sum + Object.values(freeBlocks).reduce((all, orders) => all + blocks(orders), 0),
    0,
  );
  assert.is(listed, memory.frames.free);
  for (const { watermarks, frame, frames: spanned } of memory.zones) {
    assert.ok(watermarks[0] <= watermarks[1] && watermarks[1] <= watermarks[2]);
    assert.ok(frame >= 0 && spanned > 0);
  }
}

test("what is seen adds up and agrees with the counters, at any time", async () => {
  const machine = await Machine.create(scenario, { module });
  const seen = { tokens: 0, sleeping: 0, faults: 0, balloon: 0, isolated: 0 };
  for (let piece = 0; piece < 150; piece++) {
    machine.run({ time: "200us" });
    const { host, vms } = machine.result();
    const all = machine.inspect();
    adds(all, 6 * 256);
    seen.isolated += all.frames.isolated;
    assert.is(
      all.zones.reduce((sum, { freePages }) => sum + freePages, 0),
      host.memory.freePages,
    );
    for (const [index, { name, memory, tasks }] of vms.entries()) {
      const vm = machine.inspect({ vm: name });
      assert.equal(vm.pages, {
        resident: memory.residentPages,
        swapped: memory.swappedPages,
        untouched: memory.untouchedPages,
      });
      assert.is(vm.pages.resident + vm.pages.swapped + vm.pages.untouched, 1024);
      assert.is(vm.vcpus.length, index === 0 ? 2 : 1);
      assert.equal(
        vm.tasks.map((task) => task.name),
        tasks.map((task) => task.name),
      );
      for (const [place, { state }] of vm.tasks.entries()) {
        assert.is(state === "ended", tasks[place]!.endNs !== null);
        assert.is(state === "pending", tasks[place]!.startNs === null);
      }
      for (const { vcpu, task, mode, gfn, tokens } of vm.vcpus) {
        const running = vm.tasks.filter((one) => one.vcpu === vcpu && one.state === "running");
        assert.equal(
          running.map((one) => one.name),
          task === null ? [] : [task],
        );
        assert.is(mode === "fault" || mode === "apf-halted", gfn !== null);
        seen.faults += Number(gfn !== null);
        seen.tokens += tokens.length;
        for (const token of tokens) {
          for (const sleeper of token.tasks) {
            seen.sleeping++;
            assert.is(vm.tasks.find((one) => one.name === sleeper)?.state, "waiting");
          }
        }
      }
    }
    const { guest } = machine.inspect({ vm: "cache" });
    adds(guest!, 1024);
    seen.balloon = guest!.frames.balloon;
    assert.is(guest!.frames.balloon, vms[1]!.balloon.pages);
    assert.is(machine.inspect({ vm: "db" }).guest, null);
  }
  assert.ok(seen.tokens > 20 && seen.sleeping > 20 && seen.faults > 20, JSON.stringify(seen));
  assert.is(seen.balloon, 128);
});

test("looking changes nothing", async () => {
  const digestOf = async (look: boolean): Promise<string> => {
    const machine = await Machine.create(scenario, { module });
    for (let piece = 0; piece < 10; piece++) {
      machine.run({ time: "500us" });
      if (!look) continue;
      machine.inspect();
      machine.inspect({ vm: 0 });
      machine.check();
    }
    return machine.result().digest;
  };
  assert.is(await digestOf(true), await digestOf(false));
});

test("a page's story is told as before, and a VM that is not there is refused", async () => {
  const machine = await Machine.create(scenario, { module });
  machine.access("db", 0, 3, "write");
  assert.is(machine.inspect({ vm: "db", gfn: 3 }).pte?.state, "present");
  assert.match(await refusal(() => machine.inspect({ vm: "dbx" }), "E_STEP"), /did you mean "db"/);
  machine.dispose();
  await refusal(() => machine.inspect(), "E_DISPOSED");
});

test("a run that only its tasks end tells which share is done, and stops at the next look after the signal", async () => {
  const [tasks, accesses] = [
    [{ workload: { kind: "uniform" as const, pages: 200, accesses: 1_000_000 } }],
    1_000_000,
  ];
  const scenario = { host: { memory: "8MiB" }, vms: [{ name: "db", memory: "1MiB", guest: { tasks } }] };
  const clock = performance.now;
  let calls = 0;
  // Every look at the clock finds that it is time for one at the event loop, and that the calls into the core are too long: they become the smallest.
  performance.now = () => 1000 * calls++;
  try {
    const shares: number[] = [];
    await (await Machine.create(scenario)).runAsync(undefined, {
      onProgress: ({ share }) => shares.push(share!),
    });
    assert.ok(shares.length > 5 && shares.length < 10_000);
    for (const [index, share] of shares.entries()) assert.ok(share >= (shares[index - 1] ?? 0) && share <= 1);
    assert.ok(shares.at(-1)! > 0.8);

    const interrupt = new AbortController();
    let made = 0;
    const machine = await Machine.create(scenario);
    const result = await machine.runAsync(undefined, {
      signal: interrupt.signal,
      onProgress: ({ accesses }) => {
        if (accesses > 200_000) interrupt.abort();
        made = accesses;
      },
    });
    assert.equal([result.status, result.stoppedBy, result.accesses], ["interrupted", "signal", made]);
    assert.is(result.vms[0]!.accesses, made);
    assert.is(machine.run().accesses + made, accesses);
  } finally {
    performance.now = clock;
  }
});

test.run();
