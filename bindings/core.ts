// The core: compiles the module once, makes instances of it, and gives typed access to its exports and memory. The only file
// that knows the loader. Exports are numbers and addresses; what a number means is told by constants the core exports.

import { instantiateSync } from "@assemblyscript/loader";
import { readCore } from "./corebytes.js";
import { PagevisorError } from "./errors.js";
import type { ExploreCalls } from "./explorecalls.js";
import type { OutsideCalls } from "./outside.js";

type Call = (...args: number[]) => number;

/** The constant of the core that stands for a name of the scenario: "zram-lz4" is ZRAM_LZ4, "vmExitNs" is VM_EXIT_NS. */
export function constantName(name: string): string {
  return name
    .replace(/([a-z0-9])([A-Z])/g, "$1_$2")
    .replace(/-/g, "_")
    .toUpperCase();
}

/** The functions of the core, raw: a u32 arrives signed and is read as `value >>> 0`. */
export interface CoreFunctions extends ExploreCalls {
  configHost: Call;
  configCheck: Call;
  configCosts: Call;
  configCost: Call;
  configPolicy: Call;
  configOutside: Call;
  outsideColumns: Call;
  outsideFailure: Call;
  outsideFailedAt: Call;
  outsideClear: Call;
  configGenerations: Call;
  lrucaseGenerations: Call;
  configReadahead: Call;
  configNodes: Call;
  configSwap: Call;
  configSwapDevice: Call;
  configReadErrors: Call;
  configVm: Call;
  configAsyncPf: Call;
  configKernelMode: Call;
  configFifo: Call;
  configManual: Call;
  configPager: Call;
  configMemcg: Call;
  configPaging: Call;
  configShadow: Call;
  configWritepage: Call;
  hostPagingZaps: Call;
  hostPagingLeaked: Call;
  hostPagingSlotsLost: Call;
  hostPagingTruncated: Call;
  stepVmEnding: Call;
  configSpace: Call;
  stepSpace: Call;
  guestKernelAt: Call;
  guestHoldsTable: Call;
  guestTableOf: Call;
  guestEdit: Call;
  guestFlush: Call;
  configMemslot: Call;
  configAlias: Call;
  configEvent: Call;
  configEventSlot: Call;
  configEventContent: Call;
  configEventTimeout: Call;
  configKsm: Call;
  ksmSet: Call;
  ksmFrames: Call;
  ksmPages: Call;
  ksmScansBegun: Call;
  eventDone: Call;
  eventStatus: Call;
  eventResult: Call;
  eventFailed: Call;
  eventPasses: Call;
  eventCompactResult: Call;
  eventCompactScanned: Call;
  eventBegan: Call;
  eventNs: Call;
  configCompute: Call;
  configTask: Call;
  configTrace: Call;
  configGuest: Call;
  configBalloonDevice: Call;
  configBalloonDriver: Call;
  configPaged: Call;
  configChurn: Call;
  configChurnOrder: Call;
  configThink: Call;
  configZipf: Call;
  configHotcold: Call;
  configStart: Call;
  configPrefault: Call;
  traceAddress: Call;
  boot: Call;
  bootBytes: Call;
  bootNeed: Call;
  bootPartBytes: Call;
  bootPagesNeeded: Call;
  bootPolicies: Call;
  bootPrefaulting: Call;
  bootFiniteTasks: Call;
  atOnceAheadFrom: Call;
  atOnceAllow: Call;
  atOnceEvents: Call;
  atOnceLastSlot: Call;
  atOnceEventsBytes: Call;
  atOnceFrames: Call;
  atOnceFramesBytes: Call;
  atOnceLocals: Call;
  atOncePosted: Call;
  bootHeapBase: Call;
  machineRun: Call;
  machineMade: Call;
  machineSetTimeLimit: Call;
  liveSeed: Call;
  liveCosts: Call;
  liveCost: Call;
  liveSwappiness: Call;
  liveWatermarkScale: Call;
  liveMemoryMax: Call;
  liveAsyncPf: Call;
  asyncPfAttempts: Call;
  liveBalloon: Call;
  liveCheck: Call;
  liveTrace: Call;
  liveZapAll: Call;
  inspectPage: Call;
  inspectTable: Call;
  stepAccess: Call;
  stepMsr: Call;
  stepCall: Call;
  stepCallFailed: Call;
  stepCallPasses: Call;
  stepFrameVm: Call;
  stepFramePage: Call;
  stepPageFrame: Call;
  stepOffline: Call;
  stepCompact: Call;
  stepCompactResult: Call;
  stepCompactScanned: Call;
  stepZoneStart: Call;
  stepZoneEnd: Call;
  stepMemslot: Call;
  stepDirty: Call;
  stepDirtyLog: Call;
  stepSlotFirst: Call;
  stepSlotGfn: Call;
  stepSlotPages: Call;
  stepSlots: Call;
  stepOnlyCpu: Call;
  taskStart: Call;
  pagerSupply: Call;
  pagerEnd: Call;
  stepStageNs: Call;
  stepAccessNs: Call;
  stepAccessFaults: Call;
  stepAccessKind: Call;
  stepAccessEmulated: Call;
  stepCallStatus: Call;
  stepCallResult: Call;
  stepCharged: Call;
  stepMemoryStat: Call;
  stepCallMajor: Call;
  stepCallNs: Call;
  reportTable: Call;
  reportPageNumber: Call;
  reportVm: Call;
  reportGuest: Call;
  reportPage: Call;
  reportHost: Call;
  reportDevice: Call;
  reportTask: Call;
  reportVcpu: Call;
  surveyFrames: Call;
  surveyFrame: Call;
  surveyBlock: Call;
  surveyBlocks: Call;
  surveyFreeBlocks: Call;
  surveyTable: Call;
  surveyTaskShare: Call;
  surveyTaskState: Call;
  surveyTaskToken: Call;
  surveyVcpu: Call;
  surveyWork: Call;
  surveyZone: Call;
  surveyZones: Call;
  reportMark: Call;
  reportDigest: Call;
  reportHistogram: Call;
  reportHistogramCounts: Call;
  reportHistogramHighest: Call;
  reportViolation: Call;
  reportViolationsKept: Call;
  reportViolationBytes: Call;
  reportTraceRing: Call;
  reportTraceCapacity: Call;
  reportTraceRecordBytes: Call;
  reportTraceWritten: Call;
  traceCount: Call;
  cost: Call;
  devicePreset: Call;
  checkAll: Call;
  kvmCaseLeaf: Call;
  kvmCaseTurn: Call;
  kvmCaseIndex: Call;
  kvmCaseEntries: Call;
  kvmCaseMmuPages: Call;
  walkCase: Call;
  walkCaseEntry: Call;
  walkCaseSet: Call;
  walkCaseAccess: Call;
  walkCaseGfn: Call;
  walkCaseRights: Call;
  kvmCaseLists: Call;
  kvmCaseAdd: Call;
  kvmCaseRemove: Call;
  kvmCaseCount: Call;
  kvmCaseDescriptors: Call;
  kvmCaseDump: Call;
  kvmCaseUnmap: Call;
  kvmCaseWalk: Call;
  kvmCaseVm: Call;
  kvmCaseInvalidateBegin: Call;
  kvmCaseInvalidateEnd: Call;
  kvmCaseSeq: Call;
  kvmCaseRetry: Call;
  mmioCaseSpte: Call;
  mmioCaseBits: Call;
  mmioCaseIs: Call;
  mmioCaseGfn: Call;
  mmioCaseGeneration: Call;
  mmioCaseAccess: Call;
  mmioCaseMemslots: Call;
  slotCaseBegin: Call;
  slotCaseArea: Call;
  slotCaseScript: Call;
  slotCaseReady: Call;
  slotCaseRun: Call;
  swapcaseHost: Call;
  swapcaseArea: Call;
  swapcaseStart: Call;
  lrucaseRoom: Call;
  lrucaseRun: Call;
  lrucaseMax: Call;
  lrucaseMoved: Call;
  slotCasePlaces: Call;
  swapsnapFree: Call;
  swapsnapClusterNext: Call;
  swapsnapCpuScan: Call;
  policyCaseBegin: Call;
  policyCaseTrace: Call;
  policyCaseReady: Call;
  policyCaseStart: Call;
  policyCaseRun: Call;
  policyCaseStep: Call;
  policyCaseResize: Call;
  policyCaseForget: Call;
  policyCaseResident: Call;
  policyCaseCheck: Call;
  reportCaseBegin: Call;
  reportCaseMark: Call;
  reportCaseMarked: Call;
  reportCasePass: Call;
  reportCaseAsked: Call;
  reportCaseStep: Call;
  reportCaseRequest: Call;
  balloonCaseBegin: Call;
  balloonCaseFill: Call;
  balloonCaseLeak: Call;
  balloonCaseRelease: Call;
  balloonCaseRequest: Call;
  balloonCasePages: Call;
  deviceCaseRequest: Call;
  deviceCaseSend: Call;
  deviceCaseBusy: Call;
  deviceCaseHva: Call;
  zoneCaseBegin: Call;
  zoneCaseZone: Call;
  zoneCaseReady: Call;
  zoneCaseZoneState: Call;
  zoneCaseReserve: Call;
  zoneCasePcp: Call;
  zoneCasePcpPage: Call;
  zoneCaseFree: Call;
  zoneCaseBlock: Call;
  zoneCaseAlloc: Call;
  zoneCaseFreePages: Call;
  zoneCaseGetPage: Call;
  zoneCaseSplit: Call;
  zoneCaseDrain: Call;
  zoneCaseScript: Call;
  zoneCaseRun: Call;
  zoneCaseListsRun: Call;
  zoneCaseIsolateRun: Call;
  zoneCaseIsolate: Call;
  zoneCasePutback: Call;
  zoneCaseOf: Call;
  zoneCaseGet: Call;
  zoneCasePcpGet: Call;
  zoneCaseListHead: Call;
  zoneCasePcpHead: Call;
  zoneCaseNext: Call;
  zoneCasePageType: Call;
  zoneCaseBlockType: Call;
}

/** One instance of the core. */
export class Core {
  readonly memory: WebAssembly.Memory;
  /** The program's own policy, under which alone the core asks for choices. */
  outside: OutsideCalls | undefined;
  private readonly exports: Record<string, unknown>;

  constructor(readonly module: WebAssembly.Module) {
    // The seed is never asked for; a constant keeps the loader's clock out.
    const choosePages = (vm: number, count: number): number => this.outside!.choose(vm, count);
    const abort = (_message: number, file: number, line: number, column: number): never => {
      throw new PagevisorError(
        "E_INTERNAL",
        `an assertion of the core failed at ${this.text(file)}:${line}:${column}`,
      );
    };
    const imports = { env: { abort, seed: () => 0 }, outside: { choosePages } };
    const { instance } = instantiateSync(module, imports);
    this.exports = instance.exports;
    this.memory = instance.exports.memory as WebAssembly.Memory;
  }

  /** The functions of the core. */
  get call(): CoreFunctions {
    return this.exports as unknown as CoreFunctions;
  }

  /** The value of an exported constant. */
  constant(name: string): number {
    const global = this.exports[name];
    if (!(global instanceof WebAssembly.Global)) {
      throw new PagevisorError("E_INTERNAL", `the core exports no constant ${name}`);
    }
    return (global.value as number) >>> 0;
  }

  /** The constants whose names begin with `prefix`, by the rest of their names. */
  constants(prefix: string): Map<string, number> {
    const found = new Map<string, number>();
    for (const [name, value] of Object.entries(this.exports)) {
      if (name.startsWith(prefix) && value instanceof WebAssembly.Global) {
        found.set(name.slice(prefix.length), (value.value as number) >>> 0);
      }
    }
    return found;
  }

  /** A view of `length` f64 at `address`. Views die when the memory grows: never keep one. */
  f64(address: number, length: number): Float64Array {
    return new Float64Array(this.memory.buffer, address >>> 0, length);
  }

  /** A view of `length` u64 at `address`. */
  u64(address: number, length: number): BigUint64Array {
    return new BigUint64Array(this.memory.buffer, address >>> 0, length);
  }

  /** A view of `length` u32 at `address`. */
  u32(address: number, length: number): Uint32Array {
    return new Uint32Array(this.memory.buffer, address >>> 0, length);
  }

  // A string of the core's: UTF-16, its length in bytes before it.
  private text(address: number): string {
    const bytes = this.u32(address - 4, 1)[0]!;
    return String.fromCharCode(...new Uint16Array(this.memory.buffer, address, bytes >> 1));
  }

  /** Copies the whole memory into `target`, which has just been made from the same module. */
  copyTo(target: Core): void {
    const missing = (this.memory.buffer.byteLength - target.memory.buffer.byteLength) / 65536;
    if (missing > 0) target.memory.grow(missing);
    new Uint8Array(target.memory.buffer).set(new Uint8Array(this.memory.buffer));
  }
}

let compiled: Promise<WebAssembly.Module> | undefined;

/** The compiled core that comes with the package; compiled once. */
export function coreModule(): Promise<WebAssembly.Module> {
  compiled ??= readCore().then((bytes) => WebAssembly.compile(bytes));
  return compiled;
}
