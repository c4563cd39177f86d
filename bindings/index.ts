// The public face of the library.

export type { CgroupFile, CgroupStep, MemoryStat } from "./cgroup.js";
export type {
  CompactMode,
  CompactOptions,
  CompactResult,
  CompactScanned,
  CompactStep,
} from "./compaction.js";
export type { FaultName } from "./counters.js";
export { type Curve, type CurveOptions, type CurveResult, type CurveSize, curve } from "./curve.js";
export type { DestroyStep } from "./destroy.js";
export { type ErrorCode, PagevisorError } from "./errors.js";
export type { ResolvedEvent } from "./eventschema.js";
export {
  type Actor,
  type Exploration,
  type ExploredStep,
  type ExploreOptions,
  type ExploreResult,
  explore,
  type FoundViolation,
  type Operation,
  type ViolationKind,
} from "./explore/index.js";
export type { FileSource } from "./files.js";
export type { FootprintPart } from "./footprint.js";
export type { MsrName } from "./guestcalls.js";
export type { LatencyHistogram } from "./histogram.js";
export type { InspectedPage, InspectedSpte } from "./inspect.js";
export type { KsmSetting, KsmState } from "./ksm.js";
export {
  type CreateOptions,
  type Footprint,
  type Limit,
  Machine,
  type Progress,
  type RunOptions,
  type Tick,
  type TickOptions,
} from "./machine.js";
export type {
  DirtyLogStep,
  MemslotChange,
  MemslotSetting,
  MemslotStep,
} from "./memorymap.js";
export type { MemslotFlag } from "./memslots.js";
export type {
  FrameRange,
  HostZone,
  MigrateStep,
  OfflineOptions,
  OfflinePage,
  OfflineStep,
  PinStep,
} from "./migration.js";
export { type Candidates, EVICT, KEEP, type OutsidePolicy, type PolicyScenario } from "./outside.js";
export type { PagerSetting } from "./pager.js";
export type { EntryBits, PageTableStep } from "./pagetable.js";
export { POLICIES, type PolicyName } from "./policynames.js";
export type {
  BalloonDeviceResult,
  EventResult,
  FaultKind,
  FaultStages,
  HostResult,
  Latency,
  RunResult,
  RunStatus,
  TaskResult,
  Violation,
  VmResult,
} from "./result.js";
export {
  type ResolvedScenario,
  type ResolvedSwap,
  type ResolvedVm,
  resolveScenario,
  type Scenario,
} from "./scenario.js";
export {
  type AccessOptions,
  type AccessStep,
  ADVICE,
  type Advice,
  type AdviceOptions,
  type AdviceStep,
  type GuestRange,
  type Step,
  type StepOptions,
} from "./stepping.js";
export type {
  InspectedFrames,
  InspectedHost,
  InspectedTask,
  InspectedToken,
  InspectedVcpu,
  InspectedVm,
  InspectedZone,
} from "./survey.js";
export type { PlanOptions } from "./sweep/plan.js";
export type { Outcome, SweepError, SweepPoint, SweepRow } from "./sweep/row.js";
export { type RunPlanOptions, type SweepOptions, sweep } from "./sweep/sweep.js";
export { TRACEPOINTS, type TraceEvent, type TraceEvents } from "./tracepoints.js";
export { type ValidateOptions, validate } from "./validate/index.js";
export type {
  CaseInput,
  CaseResult,
  Difference,
  FailedCase,
  Replayer,
  SkippedCase,
  ValidateResult,
} from "./validate/result.js";
export type { VcpuMode, VcpuState } from "./vcpus.js";
export { VERSION } from "./version.js";
