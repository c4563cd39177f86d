// The shape of a captured KVM experiment: scenario.json (the script with its settings), summary.json (what came of each step) and what
// repeatability.json says about it. Only what is used is checked; other keys may stand beside.

import * as v from "valibot";
import { whole } from "../shape.js";

/** The format of a captured KVM experiment, where a result names one. */
export const KVM_FORMAT = "kvm-experiment-1";

const count = whole(0, Number.MAX_SAFE_INTEGER);
const hexAddress = v.pipe(v.string(), v.regex(/^0x[0-9a-f]+$/));

export const kvmScenarioSchema = v.looseObject({
  environment: v.looseObject({
    mmu: v.string(),
    swap: v.string(),
    page_cluster: whole(0, 5),
    swap_rotational: v.optional(whole(0, 1), 0),
    thp: v.optional(v.string(), "never"),
    swappiness: v.optional(whole(0, 200), 60),
    ksm_run: v.optional(whole(0, 2), 0),
    lru_gen: v.optional(v.string(), "n"),
    cpus: v.optional(whole(1, 256), 2),
    mem_total_kb: v.optional(count, 1_500_928),
  }),
  memslots: v.array(
    v.looseObject({
      slot: whole(0, 32_763),
      gpa: hexAddress,
      pages: whole(1, 2 ** 24),
      hva: hexAddress,
      thp: v.optional(v.boolean(), false),
      kvm_flags: v.optional(count, 0),
    }),
  ),
  vcpus: v.optional(whole(1, 64), 1),
  guest_ad_preset: v.optional(v.boolean(), true),
  steps: v.array(
    v.looseObject({
      step: count,
      command: v.string(),
      pages: v.optional(v.array(count)),
      vmm_minflt: v.optional(count, 0),
      vmm_majflt: v.optional(count, 0),
      memory_current_after: v.optional(count),
    }),
  ),
});

const runs = v.array(v.tuple([v.number(), v.number(), v.number()]));
const bySlot = <T extends v.GenericSchema>(schema: T) => v.optional(v.record(v.string(), schema));

export const kvmSummarySchema = v.looseObject({
  steps: v.array(
    v.looseObject({
      step: count,
      command: v.optional(v.string(), ""),
      events: v.optional(v.record(v.string(), count), {}),
      page_faults: v.optional(count),
      page_faults_by_error_code: v.optional(v.record(v.string(), count)),
      faulted_pages: bySlot(v.looseObject({ faults: v.optional(count), order: v.nullable(runs) })),
      sptes_set: bySlot(v.looseObject({ set: count })),
      unmapped_pages: bySlot(v.looseObject({ pages: count, order: runs })),
      aged_pages: bySlot(v.looseObject({ notifications: count })),
      young_returns: v.optional(v.record(v.string(), count)),
      swap_cache_adds: v.optional(v.looseObject({ offsets: runs })),
      swap_reads: v.optional(v.looseObject({ offsets: runs })),
      async: v.optional(
        v.looseObject({
          tokens_not_present: v.optional(v.array(v.string()), []),
          tokens_ready: v.optional(v.array(v.string()), []),
        }),
      ),
      host: v.optional(v.record(v.string(), v.number()), {}),
    }),
  ),
});

export const repeatabilitySchema = v.looseObject({
  scenarios: v.record(
    v.string(),
    v.looseObject({ not_repeated: v.optional(v.record(v.string(), v.array(count)), {}) }),
  ),
});

export type KvmScenario = v.InferOutput<typeof kvmScenarioSchema>;
export type KvmSummary = v.InferOutput<typeof kvmSummarySchema>;
export type CapturedStep = KvmScenario["steps"][number];
export type StepSummary = KvmSummary["steps"][number];

/** The list that `[first, count, stride]` runs stand for. */
export function expanded(list: readonly (readonly [number, number, number])[]): number[] {
  return list.flatMap(([first, length, stride]) =>
    Array.from({ length }, (_, index) => first + index * stride),
  );
}
