// The keys that a fork may change, and the calls that put them into a living core. Every other key is fixed at boot.

import { callAsyncPf, openAsyncPf } from "./asyncpf.js";
import { configCosts, requireRoom } from "./boot.js";
import { balloonPages } from "./bootguest.js";
import type { Core } from "./core.js";
import { PagevisorError } from "./errors.js";
import type { ResolvedScenario, ResolvedVm, Scenario } from "./scenario.js";
import { traceMask } from "./tracepoints.js";

const PAGE_BYTES = 4096;

/** Live keys as a user reads them; a message lists them. */
const LIVE_KEYS =
  "seed, costs.*, host.reclaim.swappiness, host.reclaim.watermarkScaleFactor, vms.NAME.memoryMax, vms.NAME.asyncPf.*, vms.NAME.guest.balloon.target, check.*, trace.*";

/** Refuses a change of anything that is not live. @throws PagevisorError E_FIXED */
export function requireLive(
  paths: readonly string[],
  before: ResolvedScenario,
  after: ResolvedScenario,
): void {
  const rest = (scenario: ResolvedScenario): string =>
    JSON.stringify({
      ...scenario,
      seed: 0,
      costs: 0,
      check: 0,
      trace: 0,
      host: {
        ...scenario.host,
        reclaim: { ...scenario.host.reclaim, swappiness: 0, watermarkScaleFactor: 0 },
      },
      vms: scenario.vms.map((vm) => ({ ...vm, memoryMax: 0, asyncPf: 0, guest: withoutTarget(vm.guest) })),
    });
  if (rest(before) === rest(after)) return;
  const live =
    /^(seed|costs(\..*)?|host\.reclaim\.(swappiness|watermarkScaleFactor)|vms\..*\.(memoryMax|asyncPf(\..*)?)|vms\..*\.guest\.balloon\.target|check(\..*)?|trace(\..*)?)$/;
  const fixed = paths.find((path) => !live.test(path)) ?? paths[0] ?? "scenario";
  throw new PagevisorError(
    "E_FIXED",
    `${fixed}: fixed when the machine was created; a fork can change ${LIVE_KEYS}. Create another machine for this.`,
  );
}

/** `scenario` with what the design of asynchronous page faults had filled in left open, so that another design decides it anew. */
export function openDesigns(scenario: ResolvedScenario): Scenario {
  return {
    ...scenario,
    vms: scenario.vms.map((vm) => ({ ...vm, asyncPf: openAsyncPf(vm.asyncPf, vm.vcpus) })),
  };
}

/** A guest whose balloon, if it has one, has no size. */
function withoutTarget(guest: ResolvedVm["guest"]): unknown {
  return guest.balloon === undefined ? guest : { ...guest, balloon: {} };
}

/** Brings a core that was booted with `before` to the live settings of `after`. */
export function applyLive(core: Core, before: ResolvedScenario, after: ResolvedScenario): void {
  const { call } = core;
  const changed = (a: unknown, b: unknown): boolean => JSON.stringify(a) !== JSON.stringify(b);
  if (before.seed !== after.seed) call.liveSeed(after.seed);
  if (changed(before.costs, after.costs)) configCosts(after, call.liveCosts, call.liveCost, core);
  const { swappiness, watermarkScaleFactor } = after.host.reclaim;
  if (before.host.reclaim.swappiness !== swappiness) call.liveSwappiness(swappiness);
  if (before.host.reclaim.watermarkScaleFactor !== watermarkScaleFactor) {
    requireRoom(core, after, call.liveWatermarkScale(watermarkScaleFactor));
  }
  for (const [index, { asyncPf }] of after.vms.entries()) {
    if (!changed(before.vms[index]!.asyncPf, asyncPf)) continue;
    fits(callAsyncPf(core, call.liveAsyncPf, index, asyncPf));
    const { attempts } = asyncPf;
    if (attempts !== undefined && attempts !== before.vms[index]!.asyncPf.attempts)
      call.asyncPfAttempts(index, attempts);
  }
  for (const [index, { memoryMax }] of after.vms.entries()) {
    if (before.vms[index]!.memoryMax === memoryMax) continue;
    call.liveMemoryMax(index, memoryMax === null ? 0xffffffff : Math.floor(memoryMax / PAGE_BYTES));
  }
  for (const [index, vm] of after.vms.entries()) {
    const pages = balloonPages(vm);
    if (balloonPages(before.vms[index]!) !== pages) call.liveBalloon(index, pages);
  }
  if (changed(before.check, after.check)) {
    const { integrity, onViolation } = after.check;
    fits(call.liveCheck(Number(integrity), Number(onViolation === "stop")));
  }
  if (changed(before.trace, after.trace)) {
    const { trace } = after;
    fits(call.liveTrace(trace?.capacity ?? 0, ...traceMask(core, trace?.events ?? [])));
  }
}

function fits(status: number): void {
  if (status >= 0) return;
  throw new PagevisorError(
    "E_TOO_BIG",
    "asyncPf, check, trace: one machine holds 4GiB of state, and these do not fit beside the rest.",
  );
}
