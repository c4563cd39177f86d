// Asynchronous page faults: what each design stands for where a scenario leaves a key open, and the calls that choose one. What a
// design does is the core's business.

import { type Core, constantName } from "./core.js";
import type { ParsedScenario } from "./schema.js";

/** The key as it is given. */
type ParsedAsyncPf = ParsedScenario["vms"][number]["asyncPf"];

/** Every key explicit, but for `off`, where those that were not given stay open for the design that a fork may choose. */
export type ResolvedAsyncPf = ParsedAsyncPf;

/** The patch of 2010 allowed 100 outstanding faults a vCPU and kept the pages; every merged version allows 64 and lets go of them. */
const DEFAULTS = {
  "2010": { perVcpu: 100, pin: "held", tokenRule: "2.6.38" },
  "halt-only": { perVcpu: 64, pin: "released", tokenRule: "now" },
  upstream: { perVcpu: 64, pin: "released", tokenRule: "now" },
} as const;

/** The keys that the design decides where they are not given. */
export function fillInAsyncPf(asyncPf: ParsedAsyncPf, vcpus: number): ResolvedAsyncPf {
  const { design, ...given } = asyncPf;
  if (design === "off") return asyncPf;
  const { perVcpu = DEFAULTS[design].perVcpu } = given;
  return { design, sendAlways: false, workers: perVcpu * vcpus, ...DEFAULTS[design], ...given };
}

/** `asyncPf` without what its design had filled in: another design decides anew. */
export function openAsyncPf(asyncPf: ResolvedAsyncPf, vcpus: number): ParsedAsyncPf {
  const filled: Record<string, unknown> = { ...fillInAsyncPf({ design: asyncPf.design }, vcpus) };
  const entries = Object.entries(asyncPf).filter(([key, value]) => key === "design" || filled[key] !== value);
  return Object.fromEntries(entries) as unknown as ParsedAsyncPf;
}

type AsyncPfCall = (
  vm: number,
  design: number,
  limit: number,
  workers: number,
  sendAlways: number,
  pin: number,
  tokenSkipsZero: number,
) => number;

/** Hands the design of VM number `vm` to `call`, at set-up or live. Returns the core's status. */
export function callAsyncPf(core: Core, call: AsyncPfCall, vm: number, asyncPf: ResolvedAsyncPf): number {
  const { design, perVcpu = 1, workers = 1, sendAlways = false, pin = "released", tokenRule } = asyncPf;
  return call(
    vm,
    core.constant(`APF_DESIGN_${constantName(design)}`),
    perVcpu,
    workers,
    Number(sendAlways),
    core.constant(`APF_PIN_${constantName(pin)}`),
    Number(tokenRule === "now"),
  );
}
