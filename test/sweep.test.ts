// At stake: many runs that are said to be one sweep. Rows must come in order and be the same whatever the workers are; what is wrong must
// be told before anything runs; a point that fails must not take others with it; nothing may run far ahead of who reads, or on after them.

import { spawnSync } from "node:child_process";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Machine } from "#dist/machine.js";
import { sweep } from "#dist/node.js";
import type { Scenario } from "#dist/scenario.js";
import { setPath } from "#dist/setpath.js";
import type { Lanes } from "#dist/sweep/lanes.js";
import { planSweep } from "#dist/sweep/plan.js";
import type { SweepRow } from "#dist/sweep/row.js";
import type { SweepOptions } from "#dist/sweep/sweep.js";
import { rowsInOrder } from "#dist/sweep/sweep.js";
import { refusal, small } from "./scenes.js";

const [scenario, { files }] = small(2000);
const MEMORIES = ["1MiB", "1536KiB", "2MiB"];
const vary = { "host.memory": MEMORIES, "vms.cache.memoryMax": ["1MiB", null] };

async function rowsOf(options: SweepOptions, of: Scenario = scenario): Promise<SweepRow[]> {
  const rows: SweepRow[] = [];
  for await (const row of sweep(of, { files: files!, ...options })) rows.push(row);
  return rows;
}

const message = (options: SweepOptions, code: Parameters<typeof refusal>[1], of: Scenario = scenario) =>
  refusal(() => rowsOf(options, of), code);

test("the points are all combinations, the last path turning faster, the seed fastest", async () => {
  const rows = await rowsOf({ vary, seeds: 2, workers: 1 });
  assert.is(rows.length, 12);
  assert.equal(
    rows.map(({ point }) => [point.index, ...Object.values(point.set), point.seed]),
    MEMORIES.flatMap((memory) =>
      ["1MiB", null].flatMap((max) => [1, 2].map((seed) => [memory, max, seed])),
    ).map((values, index) => [index, ...values]),
  );
});

test("a row is what the run alone would be", async () => {
  for (const { point, result } of await rowsOf({ vary, seeds: 2, workers: 1 })) {
    let alone = setPath(scenario, "seed", point.seed);
    for (const [path, value] of Object.entries(point.set)) alone = setPath(alone, path, value);
    const machine = await Machine.create(alone, { files: files! });
    const { wall: _, ...expected } = machine.run();
    const { wall: __, ...got } = result!;
    assert.equal(got, expected);
  }
});

test("rows and digests are the same with 1 and with several workers", async () => {
  const plain = (rows: SweepRow[]) => rows.map(({ point, result, error }) => [point, result?.digest, error]);
  const one = plain(await rowsOf({ vary, seeds: 4, workers: 1 }));
  assert.ok(new Set(one.map(([, digest]) => digest)).size >= 4 * MEMORIES.length);
  for (const workers of [2, 3]) assert.equal(plain(await rowsOf({ vary, seeds: 4, workers })), one);
});

test("a warm-up and a limit apply to every point", async () => {
  const warm: Scenario = { ...scenario, duration: { warmUp: { accesses: 500 } } };
  const rows = await rowsOf(
    { vary: { "host.memory": MEMORIES }, limit: { accesses: 700 }, workers: 1 },
    warm,
  );
  assert.equal(
    rows.map(({ result }) => [result!.accesses, result!.stoppedBy]),
    [700, 700, 700].map((accesses) => [accesses, "accesses"]),
  );
});

test("what the scenario says about its sweep holds unless the options say it", async () => {
  const own: Scenario = { ...scenario, sweep: { vary: { "host.memory": MEMORIES }, seeds: 2 } };
  assert.is((await rowsOf({ workers: 1 }, own)).length, 6);
  assert.is((await rowsOf({ workers: 1, seeds: 1, vary: { seed: [5] } }, own))[0]!.point.seed, 5);
  const [plain, withSweep] = [scenario, own].map((one) => Machine.create(one, { files: files! }));
  assert.is((await withSweep!).run().digest, (await plain!).run().digest);
});

test("a point that fails is a row with its error, and the others run", async () => {
  for (const workers of [1, 2]) {
    const rows = await rowsOf({ vary: { "host.memory": ["1MiB", "8KiB", "2MiB"] }, workers });
    assert.equal(
      rows.map(({ result, error }) => result?.status ?? error!.code),
      ["done", "E_SCENARIO", "done"],
    );
    assert.match(rows[1]!.error!.message, /^host\.memory: /);
  }
});

test("bad input is refused before anything runs", async () => {
  const at = { "host.memory": ["1MiB", "2MiB"] };
  assert.match(
    await message({ vary: { "host.memry": [1] } }, "E_SCENARIO"),
    /point 0 \(host\.memry=1\).*"memory"/,
  );
  assert.match(
    await message({ vary: { ...at, "vms.cache.vcpus": [1, 0] }, seeds: 3 }, "E_SCENARIO"),
    /^point 3 \(host\.memory=1MiB, vms\.cache\.vcpus=0\): vms\[1\]\.vcpus: 0 is not allowed\. Allowed: /,
  );
  assert.match(await message({ vary: { "vms.web.memory": [1] } }, "E_SCENARIO"), /no element "web"/);
  assert.match(await message({ vary: { "vms.sqlite.memory": ["4KiB"] } }, "E_SCENARIO"), /vms\[0\]/);
  assert.match(
    await message({ vary: { "vms.sqlite.guest.tasks.0.workload.file": ["no.u32"] } }, "E_FILE"),
    /point 0 .*no\.u32/,
  );
  assert.match(
    await message({ vary: { "host.memory": [] } }, "E_SWEEP"),
    /^vary\["host\.memory"\]: an empty list/,
  );
  assert.match(await message({ seeds: 0 }, "E_SWEEP"), /^seeds: 0 .*from 1/);
  assert.match(
    await message({ seeds: 2, vary: { seed: [4_294_967_295] } }, "E_SWEEP"),
    /"seed" is varied already/,
  );
  assert.match(
    await message({ seeds: 2 }, "E_SWEEP", { ...scenario, seed: 4_294_967_295 }),
    /2 seeds from 4294967295 .*up to 1$/,
  );
  assert.match(await message({ workers: 1.5 }, "E_SWEEP"), /^workers: 1\.5 .*1 to 1024/);
  await message({ limit: { accesses: -1 } }, "E_LIMIT");
  await message({}, "E_SCENARIO", { ...scenario, sweep: { vary: { "host.memory": [] } } });
});

test("an abort ends the sweep: no row after it, and the workers end", async () => {
  const long = { ...scenario, vms: [scenario.vms[1]!] };
  const workload = { kind: "uniform" as const, pages: 100 };
  const endless = setPath(long, "vms.0.guest.tasks", [{ workload }]);
  for (const workers of [1, 2]) {
    const abort = new AbortController();
    const signal = abort.signal;
    const rows = sweep(endless, { seeds: 1000, workers, signal, limit: { accesses: 1e12 } });
    const first = rows.next();
    setTimeout(() => abort.abort(), 50);
    assert.equal(await first, { value: undefined, done: true });
  }
  const rows = await rowsOf({ seeds: 5, workers: 1, signal: AbortSignal.abort() });
  assert.equal(rows, []);
});

test("leaving the loop early ends the workers: the process can end, though points were under way that last for hours", () => {
  const db = {
    name: "db",
    memory: "1MiB",
    guest: { tasks: [{ workload: { kind: "uniform", pages: 100 } }] },
  };
  const lasting = { host: { memory: "4MiB" }, vms: [db] };
  const vary = { "vms.db.guest.tasks.0.workload.accesses": [100, 1e12, 1e12] };
  const script = `
    import { sweep } from ${JSON.stringify(import.meta.resolve("#dist/node.js"))};
    const options = { vary: ${JSON.stringify(vary)}, workers: 2 };
    for await (const { result } of sweep(${JSON.stringify(lasting)}, options)) {
      process.stdout.write(String(result.accesses));
      break;
    }`;
  const args = ["--input-type=module", "--eval", script];
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: "utf8", timeout: 60_000 });
  assert.equal([status, stdout, stderr], [0, "100", ""]);
});

test("no more points are begun than the window, however slow the reader", async () => {
  const plan = await planSweep(scenario, { files: files!, seeds: 50 });
  let begun = 0;
  const lanes: Lanes = {
    window: 8,
    run: async () => {
      begun += 1;
      return { result: null, error: { code: "", message: "" } };
    },
    close: async () => {},
  };
  let taken = 0;
  for await (const { point } of rowsInOrder(plan, 3, lanes, undefined)) {
    assert.is(point.index, 3 + taken);
    taken += 1;
    await new Promise((resolve) => setImmediate(resolve));
    assert.ok(begun <= taken + 7 && begun >= Math.min(47, taken), `${begun} begun, ${taken} taken`);
  }
  assert.is(taken, 47);
});

test("the id tells sweeps apart that would give other rows", async () => {
  const id = async (options: SweepOptions, of = scenario): Promise<string> =>
    (await planSweep(of, { files: files!, ...options })).id;
  const other = { "start.u32": files!["start.u32" as keyof typeof files] as unknown as Uint8Array };
  const shorter = { "start.u32": other["start.u32"].slice(4) };
  const ids = [
    await id({ vary }),
    await id({ vary, seeds: 2 }),
    await id({ vary: { "host.memory": MEMORIES } }),
    await id({ vary, limit: { accesses: 5 } }),
    await id({ vary, files: shorter }),
    await id({ vary }, setPath(scenario, "host.cpus", 1)),
  ];
  assert.is(new Set(ids).size, ids.length);
  assert.is(await id({ vary }), ids[0]);
  assert.is(await id({ vary, workers: 7 }), ids[0]);
});

test.run();
