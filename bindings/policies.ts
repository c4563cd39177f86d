// Idealized replacement policies over a page trace: a core of its own holds the trace once, and every run of one policy in one size
// goes over it there. What the policies are is the core's business (assembly/policy).

import { Core, constantName } from "./core.js";
import { PagevisorError } from "./errors.js";
import type { Trace } from "./files.js";
import type { PolicyName } from "./policynames.js";
import { formatBytes } from "./units.js";

/** References a call: short enough for the engine to change to its optimized code, and for others to have their turn. */
const CHUNK = 65_536;

/** A trace in a core, ready to be run under any policy. */
export class PolicyRuns {
  private readonly core: Core;
  private readonly references: number;
  private readonly room: number;

  /**
   * @param sizes the sizes, in pages, that runs will be asked for
   * @param policies the policies that runs will be asked for
   * @throws PagevisorError E_TOO_BIG when one instance cannot hold the trace with the arrays of its pages
   */
  constructor(
    module: WebAssembly.Module,
    { words, pages }: Trace,
    policies: readonly PolicyName[],
    sizes: readonly number[],
  ) {
    this.core = new Core(module);
    const { call } = this.core;
    this.references = words.length;
    // More memory than there are pages is never used.
    this.room = Math.min(pages, Math.max(...sizes));
    const offline = policies.includes("belady");
    if (call.policyCaseBegin(words.length, pages, this.room, Number(offline)) !== 0) {
      throw new PagevisorError(
        "E_TOO_BIG",
        `a trace of ${words.length} references to pages below ${pages} needs ${formatBytes(call.bootBytes())} of simulator state, ` +
          "one instance holds 4GiB. Shorten the trace, or number its pages from 0 without gaps.",
      );
    }
    this.core.u32(call.policyCaseTrace(), words.length).set(words);
    call.policyCaseReady();
  }

  /** Runs the whole trace and says now and then how many references are done and how many of them missed; the last time at the end. */
  *run(policy: PolicyName, size: number): Generator<{ done: number; misses: number }, void> {
    const { call } = this.core;
    call.policyCaseStart(this.core.constant(`POLICY_${constantName(policy)}`), Math.min(size, this.room));
    let misses = 0;
    for (let done = 0; done < this.references; ) {
      const count = Math.min(CHUNK, this.references - done);
      misses += call.policyCaseRun(count) >>> 0;
      done += count;
      yield { done, misses };
    }
  }

  /** References to pages that are not in memory, of which `size` pages fit there. */
  misses(policy: PolicyName, size: number): number {
    let last = 0;
    for (const { misses } of this.run(policy, size)) last = misses;
    return last;
  }
}
