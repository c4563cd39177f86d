// The history of asynchronous page faults, read from a machine's tracepoints.

import * as assert from "uvu/assert";
import type { Machine } from "#dist/index.js";

export interface Event {
  name: string;
  text: string;
  token: number;
  /** The vCPU whose thread did it, -1 for another thread. */
  vcpu: number;
}

export function eventsOf(machine: Machine): Event[] {
  return machine
    .traceText()
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("#"))
    .map((line) => {
      const [, name, text] = /: (kvm_\w+): (.*)$/.exec(line)!;
      const token = Number(/token (0x[0-9a-f]+)/.exec(text!)?.[1] ?? -1);
      return { name: name!, text: text!, token, vcpu: Number(/CPU (\d+)\/KVM/.exec(line)?.[1] ?? -1) };
    });
}

export const ALL = 0xffffffff;

/**
 * Follows the tokens of a whole history: how many are outstanding at the end, and the most a vCPU had. No token is outstanding twice, each
 * ready one was, no task that sleeps does anything before it is woken, and none sleeps at the end that nobody will wake.
 */
export function follow(events: Event[]): {
  outstanding: Set<number>;
  peak: number;
  told: number;
  ready: number;
} {
  const outstanding = new Set<number>();
  const sleeping = new Map<number, string>(); // tasks by token
  let peak = 0;
  let told = 0;
  let ready = 0;
  for (const { name, token, text, vcpu } of events) {
    if (name === "kvm_async_pf_not_present") {
      assert.not.ok(outstanding.has(token), `token ${token.toString(16)} is outstanding already`);
      outstanding.add(token);
      told++;
      peak = Math.max(peak, [...outstanding].filter((one) => (one & 0xfff) === (token & 0xfff)).length);
    } else if (name === "kvm_async_pf_ready" && token !== ALL) {
      assert.ok(outstanding.delete(token), `token ${token.toString(16)} was not outstanding`);
      ready++;
    } else if (name === "kvm_async_pf_task_wait") {
      const task = /task \d+/.exec(text)![0];
      assert.not.ok([...sleeping.values()].includes(task), `${task} runs while it sleeps`);
      assert.not.ok(sleeping.has(token));
      if (text.endsWith("sleeps")) sleeping.set(token, task);
    } else if (name === "kvm_async_pf_task_wake") {
      if (token !== ALL) sleeping.delete(token);
      else for (const one of sleeping.keys()) if ((one & 0xfff) === vcpu) sleeping.delete(one);
    }
  }
  for (const token of sleeping.keys())
    assert.ok(outstanding.has(token), "a task sleeps that nobody will wake");
  return { outstanding, peak, told, ready };
}
