// The one error class. A code never changes its meaning; the message says where, what was given, what is allowed, what to do.

/** Codes of {@link PagevisorError}. `E_INTERNAL` is a bug of pagevisor, all others are about input or use. */
export type ErrorCode =
  | "E_SCENARIO" // a key or value of the scenario
  | "E_FILE" // a trace or scenario file: missing, unreadable, empty, malformed
  | "E_TOO_BIG" // the scenario does not fit one instance (4 GiB of state)
  | "E_ENDLESS" // nothing would ever end the run
  | "E_FIXED" // a key that a fork cannot change
  | "E_LIMIT" // a run limit that is not a positive number
  | "E_STEP" // what a single step names: a VM, a vCPU, frames, a CPU
  | "E_POLICY" // a policy of the program's own: missing, another one, or a choice that is none
  | "E_SWEEP" // what a sweep varies, its seeds or its workers
  | "E_USAGE" // wrong command line
  | "E_SNAPSHOT" // bytes that are not a snapshot of this version
  | "E_DISPOSED" // a machine used after dispose()
  | "E_INTERNAL";

/** Every error that pagevisor throws on purpose. */
export class PagevisorError extends Error {
  constructor(
    /** Which error it is; does not change its meaning between versions. */
    readonly code: ErrorCode,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
    this.name = "PagevisorError";
  }
}
