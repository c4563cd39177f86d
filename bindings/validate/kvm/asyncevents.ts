// What a step is compared by about asynchronous page faults, read out of a trace.

import type { TraceEvent } from "./tracetext.js";

/** Counts and tokens as the captures' summaries have them, and whether the rule of ready events was kept. */
export interface AsyncEvents {
  tried: number;
  not_present: number;
  ready: number;
  completed: number;
  repeated: number;
  injected_faults: number;
  max_outstanding: number;
  tokens_not_present: string[];
  tokens_ready: string[];
  /** Each ready event that the guest was told of had been handled before the next one. */
  ready_one_by_one: boolean;
}

const ALL = "0xffffffff";

export function asyncEventsOf(events: Iterable<TraceEvent>): AsyncEvents {
  const found: AsyncEvents = {
    tried: 0,
    not_present: 0,
    ready: 0,
    completed: 0,
    repeated: 0,
    injected_faults: 0,
    max_outstanding: 0,
    tokens_not_present: [],
    tokens_ready: [],
    ready_one_by_one: true,
  };
  let outstanding = 0;
  let told = false;
  for (const { name, fields } of events) {
    const token = /^token (0x[0-9a-f]+)/.exec(fields)?.[1] ?? "";
    if (name === "kvm_try_async_get_page") found.tried += 1;
    else if (name === "kvm_async_pf_completed") found.completed += 1;
    else if (name === "kvm_async_pf_repeated_fault") found.repeated += 1;
    else if (name === "kvm_inj_exception") found.injected_faults += 1;
    else if (name === "kvm_async_pf_task_wake") told = false;
    else if (name === "kvm_inj_virq") {
      if (told) found.ready_one_by_one = false;
      told = true;
    } else if (name === "kvm_async_pf_not_present") {
      found.not_present += 1;
      found.tokens_not_present.push(token);
      outstanding += 1;
      found.max_outstanding = Math.max(found.max_outstanding, outstanding);
    } else if (name === "kvm_async_pf_ready") {
      found.ready += 1;
      found.tokens_ready.push(token);
      if (token !== ALL) outstanding -= 1;
    }
  }
  return found;
}
