// Replays a capture of swap slots (format mm-swap-1): a process on a host with swap, without a hypervisor, whose pages are touched,
// paged out and freed. What changed in the page table, the pages read and written, and every field of the allocator's state are
// compared. A scan start that the kernel drew at random is taken from the first snapshot.

import { Core } from "../core.js";
import { Agreement } from "./agreement.js";
import type { CaseInput, CaseResult } from "./result.js";
import { readShape, wrongShape } from "./shape.js";
import { SwapCase, type SwapCaseCore } from "./swapcase.js";
import { type SwapCapture, type SwapStep, swapCaseSchema, swapStepSchema } from "./swapfile.js";

/** Replays a case of format mm-swap-1. */
export function replaySwap(input: CaseInput, module: WebAssembly.Module): CaseResult {
  return replaySwapOn(new Core(module), input);
}

/** Replays `input` on `core`, a fresh instance. */
export function replaySwapOn(core: SwapCaseCore, { name, caseJson, steps: raw }: CaseInput): CaseResult {
  const captured = readShape(swapCaseSchema, caseJson, "case.json");
  const steps = raw.map((step, index) => {
    const where = `step ${String(step["i"] ?? `at place ${index}`)}`;
    const read = readShape(swapStepSchema, step, where);
    checkStep(read, captured, where);
    return read;
  });
  const first = steps.find((step) => step.op === "snap")?.state;
  const mapped = steps.find((step) => step.op === "map");
  const swap = new SwapCase(core, captured, mapped?.first_vpn_mod_512 ?? 0);
  if (first !== undefined) swap.takeScanStarts(first);

  const agreement = new Agreement();
  for (const step of steps) {
    agreement.begin(step.i);
    if (step.op === "snap") {
      if (step.state !== undefined) agreement.compare("state", step.state, swap.state(step.state));
      continue;
    }
    const before = swap.counters();
    run(swap, step);
    const changes = swap.changes();
    if (step.chg === undefined) continue;
    // Watching the machine shows as a step in which nothing is done and nothing changes.
    if (step.op === "settle" && step.chg.length === 0 && changes.length === 0) continue;
    const { swappedIn, swappedOut } = swap.counters();
    agreement.compare("chg", step.chg, changes);
    agreement.compare("pswpin", step.vm?.["pswpin"] ?? 0, swappedIn - before.swappedIn);
    agreement.compare("pswpout", step.vm?.["pswpout"] ?? 0, swappedOut - before.swappedOut);
  }
  return agreement.result(name, captured.format);
}

/** What an operation does, page by page or as one request for a range. */
function run(swap: SwapCase, { op, args }: SwapStep): void {
  const [from = 0, to = 0] = args;
  switch (op) {
    case "write":
    case "read":
      for (let page = from; page < to; page++) swap.touch(page, op === "write");
      break;
    case "writes":
    case "reads":
      for (const page of args) swap.touch(page, op === "writes");
      break;
    case "pageout":
      swap.pageout(from, to);
      break;
    case "pageouts":
      for (const page of args) swap.pageout(page, page + 1);
      break;
    case "free":
      swap.free(from, to);
      break;
    case "frees":
      for (const page of args) swap.free(page, page + 1);
      break;
    case "cpu":
      swap.moveTo(from);
      break;
    case "fork":
      swap.fork();
      break;
    case "reap":
      swap.reap();
      break;
    case "settle":
      swap.settle();
      break;
  }
}

/** The core trusts what it is told: pages and CPUs have to be there. */
function checkStep({ op, args }: SwapStep, captured: SwapCapture, where: string): void {
  const lists = ["writes", "reads", "pageouts", "frees"];
  const ranges = ["write", "read", "pageout", "free"];
  if (op === "cpu" && (args[0] ?? 0) >= captured.guest.cpus) {
    throw wrongShape(where, "args", `CPU ${args[0]} is not there`, `0..${captured.guest.cpus - 1}`);
  }
  const pages = ranges.includes(op) ? args.slice(0, 2).map((end) => end - 1) : lists.includes(op) ? args : [];
  if (ranges.includes(op) && args.length < 2) throw wrongShape(where, "args", "two pages are needed");
  for (const page of pages) {
    if (page >= captured.pages) {
      throw wrongShape(where, "args", `page ${page} is not there`, `0..${captured.pages - 1}`);
    }
  }
}
