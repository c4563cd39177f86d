import { mmuZapAll } from "../kvm/mmu";
import { tlbFlush } from "../kvm/tlb";
import { vcpuNext } from "../kvm/vcpu";
import { vmDropStamps, vmSpace, vmStampsLayout, vmVcpuList } from "../kvm/vm";
import { vmEnding } from "../kvm/vmend";
import { vmAt, vmTableCount } from "../kvm/vmtable";
import { arenaCommit } from "../memory/arena";
import { E_HOST_TOO_SMALL, OK } from "../memory/status";
import {
  mmArea,
  mmAreas,
  mmDropStamps,
  mmStamped,
  mmStampsLayout,
  mmZoneAt,
  mmZones,
  setMmSwappiness,
  setMmWatermarkScale,
} from "../mm/instance";
import { setMemcgMax } from "../mm/memcg";
import { pcpUpdate } from "../mm/pagealloc";
import { spaceMemcg } from "../mm/space";
import { stocksDrain } from "../mm/stock";
import { swapDevice, swapStampsLayout } from "../mm/swaparea";
import { swapCpus } from "../mm/swapstate";
import { watermarksSet } from "../mm/watermark";
import { zoneCpus } from "../mm/zone";
import { costSet, costsPreset } from "../sim/costs";
import { deviceReseed } from "../sim/device";
import { traceCapacity, traceEnable, traceLayout } from "../sim/trace";
import { workloadReseed } from "../workload/fill";
import { bootFits } from "./boot";
import { givebackTarget } from "./giveback";
import { host, now, setCheck, setSeed, taskAt, taskCount } from "./state";

// Settings that may change while a machine lives: the keys that a fork can set. Each takes effect at once.

/** Random numbers drawn from now on follow another seed; permutations of pages stay. */
export function liveSeed(seed: u32): void {
  setSeed(seed);
  for (let index: u32 = 0; index < taskCount(); index++) workloadReseed(taskAt(index), seed);
  for (let type: u32 = 0; type < mmAreas(host()); type++)
    deviceReseed(swapDevice(mmArea(host(), type)), seed, type);
}

export function liveCosts(preset: u32): void {
  costsPreset(preset);
}

export function liveCost(key: u32, ns: u32): void {
  costSet(key, ns);
}

/** 0..200. */
export function liveSwappiness(swappiness: u32): void {
  setMmSwappiness(host(), swappiness);
}

/**
 * In 1/10,000 of the host's memory; the per-CPU lists follow the watermarks (setup_per_zone_wmarks()). Fails with E_HOST_TOO_SMALL
 * where boot() would have; the machine is then of no use.
 */
export function liveWatermarkScale(factor: u32): i32 {
  const mm = host();
  setMmWatermarkScale(mm, factor);
  for (let place: u32 = 0; place < mmZones(mm); place++) {
    const zone = mmZoneAt(mm, place);
    watermarksSet(zone, factor);
    pcpUpdate(zone, zoneCpus(zone));
  }
  return bootFits() ? OK : E_HOST_TOO_SMALL;
}

/** memory.max of a VM in pages, 0xffffffff for none; the next charge reclaims down to it. */
export function liveMemoryMax(vm: u32, pages: u32): void {
  setMemcgMax(spaceMemcg(vmSpace(vmAt(vm))), pages);
  stocksDrain(host(), swapCpus(host()), vmSpace(vmAt(vm))); // memory_max_write()
}

/** The size of a VM's balloon in pages; the guest has one, unless it has ended. */
export function liveBalloon(vm: u32, pages: u32): void {
  if (!vmEnding(vmAt(vm))) givebackTarget(vmAt(vm), pages, now());
}

/** Drops every spte and every table of a VM, as deleting a memslot does: each page that is touched again faults once, its frame is there. */
export function liveZapAll(vm: u32): void {
  mmuZapAll(vmAt(vm), vmVcpuList(vmAt(vm)));
  for (let vcpu = vmVcpuList(vmAt(vm)); vcpu !== 0; vcpu = vcpuNext(vcpu)) tlbFlush(vcpu);
}

/** Checking of contents. Switched on, it knows the writes from now on. Fails with E_NO_MEMORY. */
export function liveCheck(integrity: bool, stop: bool): i32 {
  const mm = host();
  if (integrity && !mmStamped(mm)) {
    mmStampsLayout(mm);
    for (let type: u32 = 0; type < mmAreas(mm); type++) swapStampsLayout(mmArea(mm, type));
    for (let id: u32 = 0; id < vmTableCount(); id++) vmStampsLayout(vmAt(id));
    const status = arenaCommit();
    if (status !== OK) return status;
  } else if (!integrity && mmStamped(mm)) {
    mmDropStamps(mm);
    for (let id: u32 = 0; id < vmTableCount(); id++) vmDropStamps(vmAt(id));
  }
  setCheck(integrity, stop);
  return OK;
}

/** Room for at least `records`, and which events are recorded from now on, as for traceEnable(). Fails with E_NO_MEMORY. */
export function liveTrace(records: u32, first: u32, second: u32, third: u32, fourth: u32): i32 {
  if (records > traceCapacity()) {
    traceLayout(records);
    const status = arenaCommit();
    if (status !== OK) return status;
  }
  traceEnable(first, second, third, fourth);
  return OK;
}
