// At stake: that the explorer counts right. Every interleaving of race-2008 is walked here one by one, without a hash and without taking two states for one, and
// told by what can be seen of it: the violating ones are exactly those where the notifier's walk of an empty reverse map falls between get_user_pages and rmap_add.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { bootCore } from "#dist/boot.js";
import { Core, coreModule } from "#dist/core.js";
import { type Exploration, explore } from "#dist/explore/index.js";
import { prepare, walkersOf } from "#dist/explore/program.js";
import { World } from "#dist/explore/world.js";
import { inspectGfn } from "#dist/inspect.js";
import { resolveScenario } from "#dist/scenario.js";
import { traceCounts } from "#dist/tracepoints.js";
import { EXAMPLES } from "./scenes.js";

const race = JSON.parse(readFileSync(join(EXAMPLES, "explore/race-2008.json"), "utf8")) as Exploration;

type Event = "got the page" | "walked nothing" | "mapped it";

interface Seen {
  unmaps: number;
  sptes: number;
  refs: number;
  present: boolean;
}

/** Calls `ended` for each interleaving with the events of it and whether its end is wrong. */
async function everyOrder(ended: (events: Event[], wrong: boolean) => void): Promise<void> {
  const scenario = resolveScenario({ ...race.scenario, check: { integrity: true, onViolation: "count" } });
  const core = new Core(await coreModule());
  bootCore(core, scenario, new Map());
  prepare(core, scenario, race.before!);
  const world = new World(core, walkersOf(scenario, race.actors));
  const look = (): Seen => {
    const { sptes, frame, pte } = inspectGfn(core, scenario, 0, 0);
    return {
      unmaps: traceCounts(core)["kvm_unmap_hva_range"] ?? 0,
      sptes: sptes.filter(({ spte }) => BigInt(spte) !== 0n).length,
      refs: frame?.refs ?? 0,
      present: pte?.state === "present",
    };
  };
  const eventOf = (actor: string, before: Seen, after: Seen): Event[] => {
    if (actor === "monitor")
      return after.unmaps > before.unmaps && before.sptes === 0 ? ["walked nothing"] : [];
    if (after.sptes > before.sptes) return ["mapped it"];
    return after.present && after.refs > before.refs ? ["got the page"] : [];
  };
  const walk = (events: Event[]): void => {
    const actors = world.choices();
    if (actors.length === 0) {
      ended(events, world.wrong(true) !== null);
      return;
    }
    const here = world.image();
    for (const [choice, actor] of actors.entries()) {
      if (choice > 0) {
        world.restore(here);
        world.choices();
      }
      const before = look();
      world.step(choice);
      walk([...events, ...eventOf(actor, before, look())]);
    }
  };
  walk([]);
}

test("the violating interleavings are those with the empty walk in the window, and as many as the explorer counts", async () => {
  let all = 0;
  let violating = 0;
  await everyOrder((events, wrong) => {
    all++;
    if (wrong) violating++;
    const got = events.lastIndexOf("got the page");
    const window = got < 0 ? [] : events.slice(got, events.lastIndexOf("mapped it"));
    assert.is(window.includes("walked nothing"), wrong, events.join(", "));
  });
  assert.equal((await explore(race)).interleavings, { all, violating });
  assert.ok(violating > 0 && violating < all);
});

test.run();
