// A policy that the program brings along: what it looks like, how a scenario hands it over, and the one function that the core calls.
// What is a candidate and what becomes of it is the core's business (assembly/policy/outside.ts).

import type { Core } from "./core.js";
import { PagevisorError } from "./errors.js";
import { OUTSIDE_BATCH } from "./policynames.js";
import { scenarioError, show } from "./problems.js";
import type { ResolvedScenario } from "./scenario.js";
import type { Scenario } from "./schema.js";

/** In `choices` of {@link OutsidePolicy.choose}: the page stays and begins anew as the newest one, not accessed. */
export const KEEP = 0;
/** In `choices` of {@link OutsidePolicy.choose}: the page goes. */
export const EVICT = 1;

/**
 * The pages that a policy chooses among, the oldest first: one entry a page in each column. The columns are views of the core's memory,
 * good until the call returns.
 */
export interface Candidates {
  /** Number of the VM that needs room, in the order of the scenario; all candidates are its pages. */
  readonly vm: number;
  /** Number of candidates. */
  readonly length: number;
  /** Page numbers in the memory of the VM's process: with the memslots of a scenario that names none, the gfn. */
  readonly page: Uint32Array;
  /** How many references the VM has made since the page's last one; 2^32 - 1 stands for more. */
  readonly age: Uint32Array;
  /** References to the page since it came in, that of the fault included: a number, 1 or more. */
  readonly uses: Uint32Array;
  /** 1 when the page was referenced after the fault that brought it in, or since it was last kept; else 0. */
  readonly accessed: Uint8Array;
  /** 1 when the page was written since it came in, else 0. */
  readonly dirty: Uint8Array;
}

/**
 * A policy of your own, as `host.reclaim.policy` of the scenario that {@link Machine.create} takes. Like the idealized policies it decides what
 * goes when a VM has reached its `memoryMax`.
 */
export interface OutsidePolicy {
  /** What results call it: letters, digits, '.', '_' and '-'. */
  readonly name: string;
  /** Candidates of a call, a number of pages 1..64. Fewer when there are no more. Default: 64. */
  readonly batch?: number;
  /**
   * Called when a page must go and none is chosen yet. Chooses one page or more by writing {@link EVICT} over {@link KEEP}, with which every entry
   * begins. Chosen pages go one by one as room is needed, the oldest first, even if they are used meanwhile; kept ones come again when
   * they are the oldest. Called anew at once when it has chosen none; E_POLICY when it has kept every page four times and 1,024 more.
   *
   * What it throws ends the run or step that asked, and is thrown there. It must not use the machine, and chooses the same for the same
   * calls if runs are to be repeatable.
   *
   * @throws anything; see above
   */
  choose(candidates: Candidates, choices: Uint8Array): void;
}

/** `host.reclaim` of a scenario. */
type Reclaim = NonNullable<Scenario["host"]["reclaim"]>;

/** A scenario whose `host.reclaim.policy` may be an object. */
export type PolicyScenario = Omit<Scenario, "host"> & {
  host: Omit<Scenario["host"], "reclaim"> & {
    reclaim?: (Omit<Reclaim, "policy"> & { policy?: Reclaim["policy"] | OutsidePolicy }) | undefined;
  };
};

const PATH = ["host", "reclaim", "policy"];

/** The object at `host.reclaim.policy` of anything. */
function policyOf(scenario: unknown): object | undefined {
  const { policy } = (scenario as Partial<PolicyScenario> | null | undefined)?.host?.reclaim ?? {};
  return typeof policy === "object" && policy !== null ? policy : undefined;
}

/** Refuses a policy that is an object: it cannot be written down, nor be sent to another thread. @throws PagevisorError E_SCENARIO */
export function refusePolicy(scenario: unknown): void {
  if (policyOf(scenario) === undefined) return;
  const wrong = "a policy of your own goes into Machine.create() alone, not into sweeps, workers or files";
  throw scenarioError([{ path: PATH, wrong, allowed: "the name of a policy" }]);
}

/**
 * Takes the policy out of a scenario and leaves its name there.
 *
 * @throws PagevisorError E_SCENARIO for an object that is none
 */
export function takePolicy(scenario: PolicyScenario): {
  scenario: Scenario;
  policy: OutsidePolicy | undefined;
} {
  if (policyOf(scenario) === undefined) return { scenario: scenario as Scenario, policy: undefined };
  const { host } = scenario;
  const policy = host.reclaim!.policy as OutsidePolicy;
  checkPolicy(policy);
  const { name, batch = OUTSIDE_BATCH } = policy;
  const reclaim = { ...host.reclaim, policy: "outside" as const, outside: { name, batch } };
  return { scenario: { ...scenario, host: { ...host, reclaim } }, policy };
}

/** @throws PagevisorError E_SCENARIO for an object that is no policy, with the key */
function checkPolicy({ name, batch = OUTSIDE_BATCH, choose }: OutsidePolicy): void {
  const wrong = (key: string, value: unknown, allowed: string): never => {
    throw scenarioError([{ path: [...PATH, key], wrong: `${show(value)} is not allowed`, allowed }]);
  };
  if (typeof choose !== "function") wrong("choose", choose, "a function");
  if (typeof name !== "string") wrong("name", name, "a text");
  if (!Number.isInteger(batch) || batch < 1 || batch > OUTSIDE_BATCH)
    wrong("batch", batch, `a whole number 1..${OUTSIDE_BATCH}`);
}

/** The error for a scenario whose policy is not there. */
export function missingPolicy(name: string): PagevisorError {
  return new PagevisorError(
    "E_POLICY",
    `host.reclaim.policy: ${show(name)} is a policy of the program that made this scenario. Hand its object over: as host.reclaim.policy ` +
      "to Machine.create(), as the option policy to Machine.restore() and fork()",
  );
}

/**
 * Puts `policy` where the core calls it, if `scenario` has one.
 *
 * @throws PagevisorError E_POLICY when the scenario has one and it is missing, or another one, or has none
 */
export function installPolicy(
  core: Core,
  scenario: ResolvedScenario,
  policy: OutsidePolicy | undefined,
): void {
  const { outside } = scenario.host.reclaim;
  if (outside === undefined) {
    if (policy === undefined) return;
    throw new PagevisorError(
      "E_POLICY",
      `policy: the machine runs under ${show(scenario.host.reclaim.policy)}`,
    );
  }
  const { name, batch } = outside;
  if (typeof policy !== "object" || policy === null) throw missingPolicy(name);
  checkPolicy(policy);
  const { batch: given = OUTSIDE_BATCH } = policy;
  if (policy.name !== name || given !== batch) {
    throw new PagevisorError(
      "E_POLICY",
      `policy: ${show(policy.name)} with a batch of ${given} is not the machine's, which is ${show(name)} with a batch of ${batch}`,
    );
  }
  core.outside = new OutsideCalls(core, policy);
}

/** What the core is told by the program's policy, and what the program is told when that went wrong. */
export class OutsideCalls {
  /** The policy is choosing: the core is in the middle of a step. */
  asking = false;
  private columns: Columns | undefined;
  private thrown: { error: unknown } | undefined;

  constructor(
    private readonly core: Core,
    private readonly policy: OutsidePolicy,
  ) {}

  /** The core's import: has the policy choose among the first `count` candidates. Returns 0, or 1 when it threw. */
  choose(vm: number, count: number): number {
    let columns = this.columns;
    // Memory that has grown has another buffer; the views of the old one are empty. To ask for the buffer costs as much as all of the call.
    if (columns === undefined || columns.choices.length !== count) {
      columns = new Columns(this.core, count);
      this.columns = columns;
    }
    columns.vm = vm;
    this.asking = true;
    try {
      const given: unknown = this.policy.choose(columns, columns.choices);
      if (given instanceof Promise) throw asyncChoice(this.policy.name, given);
      return 0;
    } catch (error) {
      this.thrown = { error };
      return 1;
    } finally {
      this.asking = false;
    }
  }

  /** True when the last call into the core has ended because a choice has failed. */
  get failed(): boolean {
    return this.core.call.outsideFailure() !== 0;
  }

  /** Throws what has failed, if something has; the machine can go on afterwards. @throws PagevisorError E_POLICY; what the policy threw */
  raise(): void {
    const { core, thrown } = this;
    const failure = core.call.outsideFailure() >>> 0;
    if (failure === 0) return;
    const at = core.call.outsideFailedAt() >>> 0;
    core.call.outsideClear();
    this.thrown = undefined;
    if (thrown !== undefined) throw thrown.error;
    const who = `the policy ${show(this.policy.name)}`;
    if (failure === core.constant("OUTSIDE_BAD_CHOICE")) {
      const choice = this.columns!.choices[at];
      throw new PagevisorError(
        "E_POLICY",
        `${who} wrote ${choice} into choices[${at}]. Allowed: 0 (KEEP), 1 (EVICT)`,
      );
    }
    throw new PagevisorError("E_POLICY", `${who} was offered ${at} pages in a row and let none of them go`);
  }
}

/** The error for a policy that would choose later: nobody waits for it. */
function asyncChoice(name: string, promise: Promise<unknown>): PagevisorError {
  promise.catch(() => undefined); // the error below says what is wrong
  return new PagevisorError(
    "E_POLICY",
    `the policy ${show(name)}: choose() returns a promise. Allowed: to choose at once`,
  );
}

/** The columns of the core for `length` candidates. */
class Columns implements Candidates {
  vm = 0;
  readonly page: Uint32Array;
  readonly age: Uint32Array;
  readonly uses: Uint32Array;
  readonly accessed: Uint8Array;
  readonly dirty: Uint8Array;
  readonly choices: Uint8Array;

  constructor(
    core: Core,
    readonly length: number,
  ) {
    const base = core.call.outsideColumns() >>> 0;
    const words = (column: string): Uint32Array =>
      core.u32(base + core.constant(`OUTSIDE_${column}`), length);
    const bytes = (column: string): Uint8Array =>
      new Uint8Array(core.memory.buffer, base + core.constant(`OUTSIDE_${column}`), length);
    this.page = words("PAGE");
    this.age = words("AGE");
    this.uses = words("USES");
    this.accessed = bytes("ACCESSED");
    this.dirty = bytes("DIRTY");
    this.choices = bytes("CHOICES");
  }
}
