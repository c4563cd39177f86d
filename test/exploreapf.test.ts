// At stake: that no order of the steps of asynchronous page faults loses a wake-up, frees a work twice or leaves something behind, where none may; and that
// the explorer would see it: a guest without dummies, tokens that may be 0, a token that is handed out twice and works freed twice are found.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { bootCore } from "#dist/boot.js";
import { Core, coreModule } from "#dist/core.js";
import { type Exploration, type ExploreResult, explore } from "#dist/explore/index.js";
import { prepare, walkersOf } from "#dist/explore/program.js";
import { type Found, search } from "#dist/explore/search.js";
import { World } from "#dist/explore/world.js";
import { resolveScenario } from "#dist/scenario.js";
import { EXAMPLES, refusal } from "./scenes.js";

function preset(name: string): Exploration {
  return JSON.parse(readFileSync(join(EXAMPLES, "explore", `${name}.json`), "utf8")) as Exploration;
}

/** `exploration` with other keys of asyncPf. */
function varied(exploration: Exploration, asyncPf: object): Exploration {
  const [vm, ...others] = exploration.scenario.vms;
  const vms = [{ ...vm!, asyncPf: { ...vm!.asyncPf, ...asyncPf } }, ...others];
  return { ...exploration, scenario: { ...exploration.scenario, vms } } as Exploration;
}

async function ends(exploration: Exploration): Promise<ExploreResult> {
  const result = await explore(exploration);
  assert.ok(result.complete);
  return result;
}

/** Explores with something done to the core after every step: what a mechanism that is not there would come to. */
async function mutated(exploration: Exploration, broken: (core: Core) => void): Promise<Found> {
  const { scenario, before = [], actors } = exploration;
  const resolved = resolveScenario({ ...scenario, check: { integrity: true, onViolation: "count" } });
  const core = new Core(await coreModule());
  const tasks = bootCore(core, resolved, new Map());
  prepare(core, resolved, before);
  class Mutated extends World {
    override step(choice: number): void {
      super.step(choice);
      broken(core);
    }
  }
  const world = new Mutated(core, walkersOf(resolved, actors, tasks));
  return search(world, { depth: 200, states: 100_000, merge: true });
}

/** What only tests have a core do. */
function cases(core: Core): Record<"apfCaseForget" | "apfCaseFreeAgain", (vm: number) => number> {
  return core.call as unknown as ReturnType<typeof cases>;
}

/** One task, of one work at a time: small enough for every variation. */
function alone(name: string): Exploration {
  const exploration = varied(preset(name), { workers: 1, perVcpu: 1 });
  return { ...exploration, actors: [{ vcpu: 0, tasks: ["a"] }, ...exploration.actors.slice(1)] };
}

test("ready first: no order of today's design, nor of the patch of 2010, leaves a task asleep or a dummy behind", async () => {
  for (const name of ["apf-ready-first", "apf-ready-first-2010"]) {
    const { violation, interleavings } = await ends(preset(name));
    assert.is(violation, null, name);
    assert.ok(interleavings!.all > 1e6, name);
  }
});

test("ready first: a guest of 2010 that kept no dummies would lose a wake-up; today's never needs one", async () => {
  const forget = (core: Core): void => void cases(core).apfCaseForget(0);
  const old = await mutated(alone("apf-ready-first-2010"), forget);
  assert.is(old.violation?.kind, "lostWakeUp");
  assert.match(old.violation!.text, /^task a sleeps under token 0x0, and nobody will wake it$/);
  const today = await mutated(alone("apf-ready-first"), forget);
  assert.is(today.violation, null);
  assert.ok(today.complete);
});

test("token wrap: today's rule loses nobody; a token of 0 is overwritten by the next one, and its task sleeps for ever", async () => {
  const now = await ends(preset("apf-token-wrap"));
  assert.is(now.violation, null);
  const old = await ends(preset("apf-token-wrap-2.6.38"));
  assert.is(old.violation?.kind, "lostWakeUp");
  assert.match(old.violation!.text, /under token 0x0,/);
  assert.ok(old.interleavings!.violating > 0 && old.interleavings!.violating < old.interleavings!.all);
  const told = old.steps.flatMap(({ did }) => did).filter((name) => name === "kvm_async_pf_ready");
  assert.is(told.length, 2, "the host tells of both pages");
});

test("token wrap: the patch of 2010, whose tokens never stand in the shared area, hands out 0 and loses nobody", async () => {
  const exploration = varied(alone("apf-token-wrap"), {
    design: "2010",
    attempts: 2 ** 20,
    tokenRule: "2.6.38",
  });
  assert.is((await ends(exploration)).violation, null);
});

test("token reuse: a token that is handed out again while its task sleeps is found, whatever the rule", async () => {
  for (const tokenRule of ["now", "2.6.38"]) {
    const { violation } = await explore(varied(preset("apf-token-reuse"), { tokenRule }));
    assert.is(violation?.kind, "tokenReuse", tokenRule);
  }
});

test("reset: switching off and on at any moment cancels what is under way, wakes everybody and leaves nothing behind", async () => {
  for (const name of ["apf-reset", "apf-reset-2010"]) {
    const { violation } = await ends(preset(name));
    assert.is(violation, null, name);
  }
});

test("a work that is freed twice is found", async () => {
  let freed = false;
  const found = await mutated(alone("apf-reset"), (core) => {
    if (cases(core).apfCaseFreeAgain(0) !== 0) freed = true;
  });
  assert.ok(freed);
  assert.is(found.violation?.kind, "doubleFree");
});

test("states that are taken for one behave as one: the same interleavings with the tokens' numbers as they are", async () => {
  const merged = await ends(alone("apf-ready-first"));
  const { scenario, before = [], actors } = alone("apf-ready-first");
  const resolved = resolveScenario({ ...scenario, check: { integrity: true, onViolation: "count" } });
  const core = new Core(await coreModule());
  const tasks = bootCore(core, resolved, new Map());
  prepare(core, resolved, before);
  core.call.exploreTokensExact();
  const world = new World(core, walkersOf(resolved, actors, tasks));
  const exact = await search(world, { depth: 200, states: 100_000, merge: true });
  assert.equal(exact.interleavings, merged.interleavings);
  assert.ok(exact.states >= merged.states);
});

test("tasks are explored only where time does not decide which of them runs", async () => {
  const exploration = preset("apf-ready-first");
  const message = (changes: object): Promise<string> =>
    refusal(() => explore({ ...exploration, ...changes } as Exploration), "E_SCENARIO");
  const [vm] = exploration.scenario.vms;
  const vms = [{ ...vm!, guest: { ...vm!.guest, scheduler: "fair" } }];
  assert.match(await message({ scenario: { ...exploration.scenario, vms } }), /"scheduler": "fifo"/);
  const started = [{ ...vm!, guest: { ...vm!.guest, tasks: [{ ...vm!.guest!.tasks![0]!, manual: false }] } }];
  const actors = [{ vcpu: 0, tasks: ["a"] }];
  assert.match(
    await message({ actors, scenario: { ...exploration.scenario, vms: started } }),
    /not a manual task/,
  );
  assert.match(await message({ actors: [{ tasks: ["a"] }] }), /and so is their vCPU/);
  assert.match(await message({ actors: [{ vcpu: 0 }] }), /either a program or tasks/);
  const mixed = [
    {
      vcpu: 0,
      program: [
        ["msr", 0],
        ["read", 0],
      ],
    },
  ];
  assert.match(await message({ actors: mixed }), /"read" is not allowed\. Allowed: msr, attempts$/);
});

test.run();
