// What stands around every call into the core that simulates: the core's traps do not reach the user raw.

import { PagevisorError } from "./errors.js";
import { VERSION } from "./version.js";

/**
 * Calls the core. A trap is a bug of pagevisor, never the user's mistake: the instance is dead, and the message says what to report.
 *
 * @throws PagevisorError E_INTERNAL for a trap; what the call throws on purpose is passed on
 */
export function guard<T>(call: () => T): T {
  try {
    return call();
  } catch (cause) {
    if (cause instanceof PagevisorError && cause.code !== "E_INTERNAL") throw cause;
    const what = cause instanceof Error ? cause.message : String(cause);
    throw new PagevisorError(
      "E_INTERNAL",
      `the simulator has failed (${what}); this is a bug of pagevisor ${VERSION}. Please report it with the scenario and its seed.`,
      { cause },
    );
  }
}
