// Commands in which the guest touches pages or its page tables: access, access2, setpte.

import { type Command, cpuOf, type StepInput } from "./guest.js";
import { PATTERNS, type Pattern, patternPages } from "./patterns.js";

// access <vcpu> <slot> <pattern> <start> <count> <arg> r|w <generation> [irq]
const access: Command = (guest, [vcpu, slot, ...words], step) => {
  const { pages, write } = listOf(words, step);
  const generation = words[5];
  const cpus = faultCpus(step);
  const target = guest.slot(slot);
  let faults = 0;
  for (const page of pages) {
    const cpu = cpus[faults] ?? cpus.at(-1) ?? cpuOf(step);
    faults += guest.access(Number(vcpu), target, page, write, cpu, words.at(-1) === "irq", generation);
  }
};

// access2 <slot> …: two virtual CPUs at once, one a half of the list, each on a CPU of its own where there are two.
const access2: Command = (guest, [slot, ...words], step) => {
  const { pages, write } = listOf(words, step);
  const target = guest.slot(slot);
  const half = Math.ceil(pages.length / 2);
  const { cpus } = guest.machine.scenario.host;
  for (let place = 0; place < half; place++) {
    for (const [vcpu, page] of [pages[place], pages[half + place]].entries()) {
      if (page !== undefined) guest.access(vcpu, target, page, write, vcpu % cpus, words.at(-1) === "irq");
    }
  }
};

// setpte <vcpu> <slot> <start> <count> <set> <clear>. With nested paging the host never looks at the guest's own entries.
const setpte: Command = (guest, [vcpu, slot, start, count, set, clear], step) => {
  if (!guest.shadowed) return;
  const bits = { set: Number(set), clear: Number(clear) };
  guest.editPageTable(Number(vcpu), guest.slot(slot), Number(start), Number(count), bits, cpuOf(step));
};

/** The pages of a pattern, in the order of the capture where it lists them. */
function listOf(words: readonly string[], { captured }: StepInput): { pages: number[]; write: boolean } {
  const [pattern = "", start, count, argument, mode] = words;
  if (!PATTERNS.includes(pattern as Pattern)) throw new Error(`the pattern ${pattern} is not known`);
  const made = patternPages(pattern as Pattern, Number(start), Number(count), Number(argument));
  return { pages: captured.pages ?? made, write: mode === "w" };
}

/** The CPU of each fault of the step. */
function faultCpus({ events }: StepInput): number[] {
  return events.filter(({ name }) => name === "kvm_page_fault").map(({ cpu }) => cpu);
}

export const accessCommands: readonly (readonly [string, Command])[] = [
  ["access", access],
  ["access2", access2],
  ["setpte", setpte],
];
