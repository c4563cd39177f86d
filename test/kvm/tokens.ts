// The history of asynchronous page faults, read from a machine's tracepoints.

import * as assert from "uvu/assert";
import type { Machine } from "#dist/index.js";

export interface Event {
  name: string;
  text: string;
  token: number;
}

export function eventsOf(machine: Machine): Event[] {
  return machine
    .traceText()
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("#"))
    .map((line) => {
      const [, name, text] = /: (kvm_\w+): (.*)$/.exec(line)!;
      return { name: name!, text: text!, token: Number(/token (0x[0-9a-f]+)/.exec(text!)?.[1] ?? -1) };
    });
}

export const ALL = 0xffffffff;

/** Follows the tokens of a whole history: how many are outstanding at the end, and the most a vCPU had. */
export function follow(events: Event[]): {
  outstanding: Set<number>;
  peak: number;
  told: number;
  ready: number;
} {
  const outstanding = new Set<number>();
  const sleeping = new Set<number>();
  let peak = 0;
  let told = 0;
  let ready = 0;
  for (const { name, token, text } of events) {
    if (name === "kvm_async_pf_not_present") {
      assert.not.ok(outstanding.has(token), `token ${token.toString(16)} is outstanding already`);
      outstanding.add(token);
      told++;
      const vcpu = token & 0xfff;
      peak = Math.max(peak, [...outstanding].filter((one) => (one & 0xfff) === vcpu).length);
    } else if (name === "kvm_async_pf_ready" && token !== ALL) {
      assert.ok(outstanding.delete(token), `token ${token.toString(16)} was not outstanding`);
      ready++;
    } else if (name === "kvm_async_pf_task_wait" && text.endsWith("sleeps")) {
      assert.not.ok(sleeping.has(token));
      sleeping.add(token);
    } else if (name === "kvm_async_pf_task_wake" && token !== ALL) {
      sleeping.delete(token);
    }
  }
  for (const token of sleeping) assert.ok(outstanding.has(token), "a task sleeps that nobody will wake");
  return { outstanding, peak, told, ready };
}
