// A host with swap and one process on an instance of the core, and its state in the words of a capture.

import { PagevisorError } from "../errors.js";
import type { SwapCapture, SwapState, TypeState } from "./swapfile.js";

type Call = (...args: number[]) => number;

/** The functions of the core that a case needs, raw: a u32 arrives signed. */
export interface SwapCaseFunctions {
  swapcaseHost: Call;
  swapcaseArea: Call;
  swapcaseStart: Call;
  swapcaseScanStart: Call;
  swapcaseCpu: Call;
  swapcaseTouch: Call;
  swapcasePageout: Call;
  swapcaseFree: Call;
  swapcaseFork: Call;
  swapcaseReap: Call;
  swapcaseSettle: Call;
  swapcasePage: Call;
  swapcaseIn: Call;
  swapcaseOut: Call;
  swapcaseCheck: Call;
  swapsnapOffsetMask: Call;
  swapsnapFree: Call;
  swapsnapActive: Call;
  swapsnapAvail: Call;
  swapsnapSlots: Call;
  swapsnapCur: Call;
  swapsnapSlot: Call;
  swapsnapReturned: Call;
  swapsnapUsed: Call;
  swapsnapLowest: Call;
  swapsnapHighest: Call;
  swapsnapClusterNext: Call;
  swapsnapClusterNr: Call;
  swapsnapByte: Call;
  swapsnapClusters: Call;
  swapsnapClusterUsed: Call;
  swapsnapFreeCluster: Call;
  swapsnapCpuCluster: Call;
  swapsnapCpuNext: Call;
  swapsnapCpuScan: Call;
}

/** What a case runs on: an instance of the core. */
export interface SwapCaseCore {
  readonly call: unknown;
  constant(name: string): number;
}

/** Elements of a list that the core reads one by one. */
function listOf(read: (index: number) => number): number[] {
  const list: number[] = [];
  for (let value = read(0); value !== -1; value = read(list.length)) list.push(value);
  return list;
}

/** One case on a fresh instance. */
export class SwapCase {
  private readonly call: SwapCaseFunctions;
  private readonly pages: Int32Array;
  private readonly offsetMask: number;

  /** @param first position of page 0 within its 2 MiB */
  constructor(
    core: SwapCaseCore,
    private readonly captured: SwapCapture,
    first: number,
  ) {
    this.call = core.call as SwapCaseFunctions;
    const { pages, guest, devices } = captured;
    this.must(this.call.swapcaseHost(pages, guest.cpus, first, 2 ** guest.page_cluster));
    const synchronous = core.constant("DEVICE_SYNCHRONOUS");
    const rotational = core.constant("DEVICE_ROTATIONAL");
    for (const device of devices) {
      const flags = (device.synchronous ? synchronous : 0) | (device.rotational ? rotational : 0);
      this.must(this.call.swapcaseArea(device.slots, device.prio, flags));
    }
    this.must(this.call.swapcaseStart());
    this.offsetMask = this.call.swapsnapOffsetMask() >>> 0;
    this.pages = new Int32Array(pages).fill(-2);
  }

  private must(status: number): void {
    if (status < 0) throw new PagevisorError("E_TOO_BIG", "the case does not fit an instance of the core");
  }

  /** Takes over the random starts of the scans, which a snapshot holds. */
  takeScanStarts(state: SwapState): void {
    for (const { type, percpu } of state.types) {
      for (const { cpu, cluster_next_cpu } of percpu ?? []) {
        if (cpu < this.captured.guest.cpus && type < this.captured.devices.length) {
          this.call.swapcaseScanStart(type, cpu, cluster_next_cpu);
        }
      }
    }
  }

  touch(page: number, write: boolean): void {
    this.call.swapcaseTouch(page, write ? 1 : 0);
  }

  pageout(from: number, to: number): void {
    this.call.swapcasePageout(from, to);
  }

  free(from: number, to: number): void {
    this.call.swapcaseFree(from, to);
  }

  moveTo(cpu: number): void {
    this.call.swapcaseCpu(cpu);
  }

  fork(): void {
    this.must(this.call.swapcaseFork());
  }

  reap(): void {
    this.call.swapcaseReap();
  }

  settle(): void {
    this.call.swapcaseSettle();
  }

  /** Asserts every invariant of the case's structures. */
  check(): void {
    this.call.swapcaseCheck();
  }

  counters(): { swappedIn: number; swappedOut: number } {
    return { swappedIn: this.call.swapcaseIn(), swappedOut: this.call.swapcaseOut() };
  }

  /** Pages whose state differs from that at the last call, as a step's `chg`. */
  changes(): number[][] {
    const changes: number[][] = [];
    for (let page = 0; page < this.pages.length; page++) {
      const state = this.call.swapcasePage(page);
      if (state === this.pages[page]) continue;
      this.pages[page] = state;
      changes.push(state === -1 || state === -2 ? [page, state] : [page, ...this.entry(state)]);
    }
    return changes;
  }

  private entry(entry: number): [number, number] {
    const offset = (entry & this.offsetMask) >>> 0;
    return [((entry >>> 0) - offset) / (this.offsetMask + 1), offset];
  }

  /** The state of the swap allocator, with the constant fields of `like`. */
  state(like: SwapState): SwapState {
    const { call } = this;
    return {
      ...like,
      nr_swap_pages: call.swapsnapFree(),
      slot_cache_active: call.swapsnapActive(),
      avail: listOf((index) => call.swapsnapAvail(index)),
      cpus: like.cpus.map((cpuState) => {
        const { cpu } = cpuState;
        const ret = listOf((index) => call.swapsnapReturned(cpu, index)).map((entry) => this.entry(entry));
        return {
          ...cpuState,
          nr: call.swapsnapSlots(cpu),
          cur: call.swapsnapCur(cpu),
          slots: listOf((index) => call.swapsnapSlot(cpu, index)).map((entry) => this.entry(entry)),
          ret,
          ...("n_ret" in cpuState && { n_ret: ret.length }),
        };
      }),
      types: like.types.map((type) => this.area(type)),
    };
  }

  private area(like: TypeState): TypeState {
    const { call } = this;
    const { type } = like;
    const clusters = call.swapsnapClusters(type);
    return {
      ...like,
      inuse: call.swapsnapUsed(type),
      lowest_bit: call.swapsnapLowest(type),
      highest_bit: call.swapsnapHighest(type),
      cluster_next: call.swapsnapClusterNext(type),
      cluster_nr: call.swapsnapClusterNr(type),
      ...(clusters !== 0 && {
        percpu: (like.percpu ?? []).map(({ cpu }) => ({
          cpu,
          cluster: call.swapsnapCpuCluster(type, cpu),
          next: call.swapsnapCpuNext(type, cpu),
          cluster_next_cpu: call.swapsnapCpuScan(type, cpu),
        })),
        free_clusters: this.freeClusters(type),
        cluster_counts: Array.from({ length: clusters }, (_, index) => call.swapsnapClusterUsed(type, index)),
      }),
      map: this.map(type),
    };
  }

  private freeClusters(type: number): number[] {
    let last = -1;
    return listOf(() => {
      last = this.call.swapsnapFreeCluster(type, last);
      return last;
    });
  }

  /** The map as runs of value and length. */
  private map(type: number): [number, number][] {
    const runs: [number, number][] = [];
    const slots = this.captured.devices[type]?.slots ?? 0;
    for (let slot = 0; slot < slots; slot++) {
      const byte = this.call.swapsnapByte(type, slot);
      const run = runs.at(-1);
      if (run?.[0] === byte) run[1] += 1;
      else runs.push([byte, 1]);
    }
    return runs;
  }
}
