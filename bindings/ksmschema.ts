// The scenario's key `host.ksm`, what machine.setKsm() may change of it, and the rules between it and other keys.

import * as v from "valibot";
import { isIdealized } from "./policynames.js";
import type { Problem } from "./problems.js";
import { show } from "./problems.js";
import type { ResolvedScenario } from "./scenario.js";
import { count, flag, object, time, U32_MAX } from "./values.js";

export const ksmSchema = object(
  "Page merging (KSM): pages that monitors have called mergeable share a frame while their contents are equal. Needs check.integrity, which knows contents.",
  {
    run: v.optional(flag("ksmd works: /sys/kernel/mm/ksm/run."), true),
    pagesToScan: v.optional(
      count("Pages that ksmd looks at between two naps: pages_to_scan.", { max: U32_MAX }),
      100,
    ),
    sleep: v.optional(time("How long ksmd naps: sleep_millisecs.", { min: 1 }), "20ms"),
  },
);

/** What `host.ksm` and the advice about merging need. */
export function ksmProblems({ host, check, events }: ResolvedScenario): Problem[] {
  const problems: Problem[] = [];
  if (host.ksm === undefined) {
    for (const [index, event] of events.entries()) {
      if (event.do !== "advise" || !isMergeAdvice(event.advice)) continue;
      const wrong = `${show(event.advice)} is for hosts that merge pages`;
      problems.push({
        path: ["events", index, "advice"],
        wrong,
        allowed: "another advice, or host.ksm, be it {}",
      });
    }
    return problems;
  }
  if (!check.integrity) {
    const wrong = "contents decide what is merged, and check.integrity is false";
    problems.push({ path: ["host", "ksm"], wrong, allowed: "absent, or check.integrity true" });
  }
  if (isIdealized(host.reclaim.policy)) {
    const wrong = `${show(host.reclaim.policy)} knows pages of one VM alone`;
    problems.push({ path: ["host", "ksm"], wrong, allowed: 'absent, or policy "two-list" or "mglru"' });
  }
  return problems;
}

export function isMergeAdvice(advice: string): boolean {
  return advice === "mergeable" || advice === "unmergeable";
}
