// Repeats a captured KVM experiment on the machine and compares what each step did: the script's commands drive it through
// machine.access() and machine.advise() alone, and its own trace is read as the capture's is. One comparison is one step of the output.

import { Machine } from "../../machine.js";
import { Agreement } from "../agreement.js";
import type { CaseInput, CaseResult, SkippedCase } from "../result.js";
import { readShape, wrongShape } from "../shape.js";
import { asyncPfFiles } from "./apf.js";
import {
  type CapturedStep,
  KVM_FORMAT,
  type KvmScenario,
  type KvmSummary,
  kvmScenarioSchema,
  kvmSummarySchema,
  repeatabilitySchema,
} from "./captured.js";
import { COMMANDS } from "./commands.js";
import { allPlaces, type Counters, compareStep, placesOf } from "./compare.js";
import { compareAsync } from "./compareasync.js";
import { CapturedGuest, cpuIn } from "./guest.js";
import { type MonitorActivity, monitorActivity } from "./monitor.js";
import { OwnMemory, ownFiles } from "./own.js";
import { quantitiesOf } from "./quantities.js";
import { scenarioOf } from "./scenario.js";
import { CaseTotals } from "./totals.js";
import { type CapturedEvents, capturedEvents, traceEvents } from "./tracetext.js";

const MMUS = ["tdp", "legacy", "shadow"];

/** Repeats an experiment. A skipped one says why. */
export async function replayKvm(
  { name, caseJson, text }: CaseInput,
  module: WebAssembly.Module,
): Promise<CaseResult | SkippedCase> {
  const { scenario: scenarioJson, summary: summaryJson, repeatability } = caseJson as Record<string, unknown>;
  const why = skipReason(scenarioJson);
  if (why !== undefined) return { name, why };
  const captured = readShape(kvmScenarioSchema, scenarioJson, "scenario.json");
  const summary = readShape(kvmSummarySchema, summaryJson, "summary.json");
  const repeated = readShape(repeatabilitySchema, repeatability ?? { scenarios: {} }, "repeatability.json");
  const trace = text?.("trace.txt") ?? text?.("trace.txt.gz");
  if (trace === undefined) throw wrongShape("trace.txt", "", "missing", "trace.txt or trace.txt.gz");

  const notRepeated = repeated.scenarios[name]?.not_repeated ?? {};
  const events = capturedEvents(trace);
  const activity = monitorActivity({
    steps: captured.steps,
    slots: allPlaces(captured),
    events,
    swapIns: (step) => summary.steps.find((each) => each.step === step)?.host["pswpin"],
    record: text?.("scenario.json") ?? "",
    fileBytes: (label) => text?.(`pagemap-${label}.tsv`)?.length ?? 0,
  });
  return repeat(name, captured, summary, notRepeated, events, activity, module);
}

async function repeat(
  name: string,
  captured: KvmScenario,
  summary: KvmSummary,
  notRepeated: Record<string, number[]>,
  events: CapturedEvents,
  activity: MonitorActivity,
  module: WebAssembly.Module,
): Promise<CaseResult> {
  const input = events.within;
  const machine = await Machine.create(scenarioOf(captured, input, activity), {
    module,
    files: asyncPfFiles(captured),
  });
  const guest = new CapturedGuest(machine, captured);
  if (machine.scenario.vms[0]!.pager !== undefined) guest.setPager(null);
  // The payload has touched its own memory before recording began, and with it the tables that are shadowed.
  if (guest.shadowed) guest.touchAll(0);
  const places = placesOf(captured);
  const own = new OwnMemory(guest, activity);
  const totals = new CaseTotals();
  const slots = new Set(places.map(({ name: slot }) => slot));
  let begun = false;
  const agreement = new Agreement();
  for (const step of captured.steps) {
    const cpu = cpuIn(input.get(step.step) ?? []);
    if (!begun) own.begin(cpu);
    begun = true;
    own.before(step.step, cpu);
    const before = takenOf(guest);
    const [word = "", ...words] = step.command.split(/\s+/);
    const expected = summary.steps.find((each) => each.step === step.step);
    try {
      COMMANDS.get(word)!(guest, words, {
        captured: step,
        summary: expected,
        events: input.get(step.step) ?? [],
      });
    } catch (cause) {
      const what = cause instanceof Error ? cause.message : String(cause);
      throw wrongShape(`step ${step.step}`, "command", `${step.command}: ${what}`);
    }
    own.within(step.step, cpu);
    const got = quantitiesOf(traceEvents(machine.traceText()), places, ownFiles(activity));
    own.counted(step.step, cpu);
    const after = takenOf(guest);
    if (expected !== undefined) {
      compareStep(agreement, notRepeated, expected, got, before, after, places);
      compareAsync(agreement, name, notRepeated, expected, got);
    }
    if (expected !== undefined) totals.add(expected, got, before, after, slots);
    own.behind(step.step, cpu);
    machine.traceText();
  }
  totals.compare(agreement, name);
  machine.dispose();
  return agreement.result(name, KVM_FORMAT);
}

/** Counters that the quantities count between two moments. */
function takenOf({ machine, majorFaults, moved, notMoved }: CapturedGuest): Counters {
  const { in: swapIn, out: swapOut } = machine.result().host.swap;
  return { swapIn, swapOut, majorFaults, moved, notMoved };
}

/** What of an experiment is not modelled in this version, if anything is. */
export function skipReason(scenarioJson: unknown): string | undefined {
  const { environment, steps } = scenarioJson as { environment?: { mmu?: string }; steps?: CapturedStep[] };
  if (!Array.isArray(steps)) return "it has no steps: only a trace was captured";
  if (!MMUS.includes(String(environment?.mmu)))
    return `mmu ${environment?.mmu} is not modelled in this version`;
  for (const { command } of steps) {
    const [word = ""] = String(command).split(/\s+/);
    if (!COMMANDS.has(word)) return `the command ${word} is not modelled in this version`;
  }
  return undefined;
}
