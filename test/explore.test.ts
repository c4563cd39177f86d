// At stake: the explorer. It must find the race that the proposal of 2008 tells of, count it as a plain enumeration does, find none under today's
// rule, and take no two states for one that behave differently.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { bootCore } from "#dist/boot.js";
import { Core, coreModule } from "#dist/core.js";
import { type Exploration, type ExploreOptions, type ExploreResult, explore } from "#dist/explore/index.js";
import { prepare, walkersOf } from "#dist/explore/program.js";
import { search } from "#dist/explore/search.js";
import { World } from "#dist/explore/world.js";
import { inspectGfn } from "#dist/inspect.js";
import { resolveScenario } from "#dist/scenario.js";
import { debugModule, EXAMPLES, refusal } from "./scenes.js";

function preset(name: string): Exploration {
  return JSON.parse(readFileSync(join(EXAMPLES, "explore", `${name}.json`), "utf8")) as Exploration;
}

async function explored(name: string, options: ExploreOptions = {}): Promise<ExploreResult> {
  return explore(preset(name), { module: await debugModule, ...options });
}

test("the race of 2008 ends in a page that is pinned for ever", async () => {
  const { violation, complete, steps, interleavings } = await explored("race-2008");
  assert.is(violation?.kind, "pinnedForEver");
  assert.ok(complete);
  assert.match(steps.at(-1)!.page, /pte swapped/);
  assert.ok(interleavings!.violating > 0 && interleavings!.violating < interleavings!.all);
});

test("today's rule on the same machine: every order seen, none ends in a violation", async () => {
  const [today, old] = [await explored("seq-retry"), await explored("race-2008")];
  assert.is(today.violation, null);
  assert.ok(today.complete);
  assert.ok(today.depth >= old.depth, `${today.depth} steps`);
});

test("a page discarded in the same window is read as it was; today's rule has every order right", async () => {
  const [old, today] = [await explored("discard-2008"), await explored("discard-seq-retry")];
  assert.is(old.violation?.kind, "staleRead");
  assert.match(old.steps.at(-1)!.page, /^pte none, spte/);
  assert.ok(old.complete && old.interleavings!.violating < old.interleavings!.all);
  assert.ok(today.complete);
  assert.is(today.violation, null);
  assert.ok(today.depth >= old.steps.length);
});

test("names that there are not are refused, with those that there are", async () => {
  const race = preset("race-2008");
  const message = (changes: object): Promise<string> =>
    refusal(() => explore({ ...race, ...changes } as Exploration), "E_SCENARIO");
  assert.match(
    await message({ look: ["lostwrite"] }),
    /^look: "lostwrite" is not allowed\. Allowed: lostWrite, staleRead, /,
  );
  const before = [{ program: [["pageOut", 0]] }];
  assert.match(
    await message({ before }),
    /^before: "pageOut" is not allowed\. Allowed: pageout, .*reclaim, wait$/,
  );
  const ofVcpu = [{ vcpu: 0, program: [["reclaim", 1]] }];
  assert.match(
    await message({ before: ofVcpu }),
    /^before: "reclaim" is not allowed\. Allowed: read, write, wait$/,
  );
  assert.match(
    await message({ actors: ofVcpu }),
    /^actors: "reclaim" is not allowed\. Allowed: read, write$/,
  );
});

test("a signal ends a search, whose result says that it has not seen everything", async () => {
  const interrupt = new AbortController();
  setTimeout(() => interrupt.abort(), 30);
  const { complete, states, violation, interleavings } = await explored("smp-2007-fixed", {
    signal: interrupt.signal,
  });
  assert.equal([complete, violation, interleavings], [false, null, null]);
  assert.ok(states < 3692);
});

test("without the rule, an entry names a frame that has been freed", async () => {
  const { violation } = await explored("no-retry-today");
  assert.is(violation?.kind, "freedFrame");
});

test("the designs of 2007 and 2008 break in what they leave open, and nowhere once that is mended", async () => {
  for (const [name, kind] of [
    ["smp-2007", "lostWrite"],
    ["shared-inode-2007", "freedFrame"],
    ["destroy-2007", "freedFrame"],
    ["trylock-2007", "trylockFailed"],
    ["unmap-iterate-2008", "pinnedForEver"],
  ] as const) {
    const { violation, steps } = await explored(name);
    assert.is(violation?.kind, kind, name);
    // Whoever is a vCPU or a monitor is called so, with a program or without (one of a VM that is destroyed).
    assert.ok(steps.every(({ actor }) => /vcpu \d|monitor|worker|device/.test(actor)));
  }
  const { violation, complete } = await explored("smp-2007-fixed");
  assert.is(violation, null);
  assert.ok(complete);
});

test("writepage that meets the lock held does no harm, whatever the order", async () => {
  const { look: _, ...all } = preset("trylock-2007");
  const { violation, complete } = await explore(all, { module: await debugModule });
  assert.is(violation, null);
  assert.ok(complete);
});

test("states that are taken for one behave as one: the same interleavings without", async () => {
  for (const name of ["race-2008", "no-retry-today"]) {
    const [merged, apart] = [await explored(name), await explored(name, { merge: false })];
    assert.ok(apart.complete);
    assert.equal(apart.interleavings, merged.interleavings);
    assert.is(apart.schedule.length, merged.schedule.length);
    assert.ok(apart.states > merged.states);
  }
});

test("a schedule replayed ends where it was found", async () => {
  const found = await explored("race-2008");
  const played = await explored("race-2008", { replay: found.schedule });
  assert.equal(played.steps, found.steps);
  assert.equal(played.violation, found.violation);
});

/** The page as the machine has it. */
const sptes = (core: Core): bigint[] =>
  inspectGfn(core, resolveScenario(preset("seq-retry").scenario), 0, 0)
    .sptes.map(({ spte }) => BigInt(spte))
    .filter((spte) => spte !== 0n);

/** A world in which an entry, as soon as there is one, leads to the frame beside its own. */
class Damaged extends World {
  override step(choice: number): void {
    super.step(choice);
    const words = new BigUint64Array(this.core.memory.buffer);
    for (const spte of sptes(this.core)) words[words.lastIndexOf(spte)]! ^= 1n << 12n;
  }
}

test("a structure that is not as it must be ends the search, in the state in which it is, after the fewest steps", async () => {
  const { scenario, before, actors } = preset("seq-retry");
  const resolved = resolveScenario({ ...scenario, check: { integrity: true, onViolation: "count" } });
  const found = await Promise.all(
    [await debugModule, await coreModule()].map(async (module) => {
      const core = new Core(module);
      bootCore(core, resolved, new Map());
      prepare(core, resolved, before!);
      const world = new Damaged(core, walkersOf(resolved, actors), ["brokenCheck"]);
      return search(world, { depth: 50, states: 1000, merge: true });
    }),
  );
  assert.is(found[1]!.violation, null, "without assertions nothing is looked at");
  const { violation, schedule } = found[0]!;
  assert.is(violation?.kind, "brokenCheck");
  assert.match(
    violation!.text,
    /^a structure is not as it must be: an assertion of the core failed at assembly\/.*\.ts:/,
  );
  const core = new Core(await debugModule);
  bootCore(core, resolved, new Map());
  prepare(core, resolved, before!);
  const sound = new World(core, walkersOf(resolved, actors));
  for (const [index, choice] of schedule.entries()) {
    assert.equal([sptes(core).length, sound.broken()], [0, null], `before step ${index + 1}`);
    sound.choices();
    sound.step(choice);
  }
  assert.is(sptes(core).length, 1);
  assert.is(sound.broken(), null);
});

test("an assertion that fails in a step ends the interleaving like a broken structure", async () => {
  const { scenario, actors } = preset("seq-retry");
  const core = new Core(await debugModule);
  bootCore(core, resolveScenario(scenario), new Map());
  const world = new World(core, walkersOf(resolveScenario(scenario), actors));
  const here = world.image();
  world.choices();
  new Uint8Array(core.memory.buffer).fill(0xff, core.call.bootHeapBase());
  world.step(0);
  assert.match(world.wrong(false)!.text, /^the step ends in an assertion: /);
  world.restore(here);
  assert.is(world.wrong(false), null);
});

test("a search that is cut short says so", async () => {
  const { complete, violation, interleavings } = await explored("race-2008", { depth: 3 });
  assert.not(complete);
  assert.is(violation, null);
  assert.is(interleavings, null);
});

test("migration against completion, in every order: held pages stay, the patch of 2013 misleads migration, released ends well", async () => {
  const ends = { held: "heldPage", 2013: "misledUnmap", released: undefined };
  for (const [name, kind] of Object.entries(ends)) {
    const { actors, ...exploration } = preset(`apf-migrate-${name}`);
    const { violation, complete, steps } = await explore({ ...exploration, actors: actors.slice(0, 2) });
    assert.is(violation?.kind, kind, name);
    assert.ok(complete, name);
    const unmapped = steps.filter(({ did }) => did.includes("set_migration_pte")).length;
    assert.is(unmapped, name === "held" ? 1 : 0, name);
  }
});

test("with a discard of the page too: held it stays, under 2013 it is dropped as a file's, released every order ends well", async () => {
  for (const [name, kind, depth] of [
    ["held", "heldPage", 16],
    ["2013", "miscountedPage", 12],
  ] as const) {
    const { violation, steps } = await explore(preset(`apf-migrate-${name}`), { depth });
    assert.is(violation?.kind, kind, name);
    assert.is(steps.length, depth, "the shortest");
  }
  const { violation, complete } = await explore(preset("apf-migrate-released"));
  assert.is(violation, null);
  assert.ok(complete);
});

test.run();
