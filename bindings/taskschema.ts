// The keys of a guest's task (`vms[].guest.tasks[]`).

import * as v from "valibot";
import { choice, count, either, flag, maybe, name, object, text, time } from "./values.js";
import { workloadSchema } from "./workload.js";

const start = either(
  "When the task starts: a virtual time, or after another task has ended.",
  'a time, or { "after": "vm/task", "delay": time }',
  time("Virtual time of the start."),
  object("Start after another task has ended.", {
    after: text('The other task, as "vm/task".'),
    delay: v.optional(time("Time between the other task's end and the start."), 0),
  }),
);

export const taskSchema = object("A task of the guest, or `count` equal ones.", {
  name: v.optional(
    name('Default: the workload\'s kind, "-" and the index in the list. Equal tasks are name.0, name.1, ….'),
  ),
  count: v.optional(count("Number of equal tasks.", { max: 1024 }), 1),
  vcpu: maybe(
    count("The vCPU it runs on. Absent: tasks are dealt to the vCPUs in turn.", { min: 0, max: 63 }),
  ),
  start: v.optional(start, 0),
  manual: v.optional(
    flag("It waits until machine.startTask() starts it, and no run waits for its end before."),
    false,
  ),
  region: maybe(name("Tasks of one region share its pages. Absent: pages of its own.")),
  prefault: v.optional(flag("Write every page once before virtual time and counters start."), false),
  mode: v.optional(
    choice("Where it runs: kernel mode is where the host may not put a task to sleep.", {
      values: ["user", "kernel"],
    }),
    "user",
  ),
  workload: workloadSchema,
});
