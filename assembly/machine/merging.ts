import { DAEMON_BYTES } from "../kvm/vcpu";
import { arenaTake, PART_RECORDS } from "../memory/arena";
import { E_NO_MEMORY, OK } from "../memory/status";
import { ACTOR_MM } from "../mm/context";
import { KSM_ACTOR, KSM_ASLEEP, ksmCreate, ksmScans, ksmShared, ksmSharing } from "../mm/ksm";
import { ksmdSet } from "../mm/ksmd";
import { mmKsm } from "../mm/ksmtree";
import { ACTOR_KSMD, actorInit } from "../sim/actor";
import { addActor } from "./giveback";
import { actorCount, host, now } from "./state";

// Page merging as the binding sees it: the thread that merges, its settings, what it has come to.

/** Page merging: ksmd, which looks at `pages` pages between two naps of `sleepNs`. After configHost(), before the VMs. */
export function configKsm(run: bool, pages: u32, sleepNs: f64): i32 {
  const mm = host();
  const ksmd = arenaTake(PART_RECORDS, DAEMON_BYTES);
  if (ksmd === 0 || !ksmCreate(mm)) return E_NO_MEMORY;
  actorInit(ksmd, ACTOR_KSMD, actorCount());
  store<u32>(ksmd, <u32>mm, ACTOR_MM);
  store<u32>(mmKsm(mm), <u32>ksmd, KSM_ACTOR);
  store<u32>(mmKsm(mm), 1, KSM_ASLEEP);
  ksmdSet(mm, run, pages, <u64>sleepNs, 0);
  addActor(ksmd);
  return OK;
}

/** Writes to /sys/kernel/mm/ksm. */
export function ksmSet(run: bool, pages: u32, sleepNs: f64): void {
  ksmdSet(host(), run, pages, <u64>sleepNs, now());
}

/** Merged frames. */
export function ksmFrames(): u32 {
  return ksmShared(host());
}

/** Pages that map merged frames. */
export function ksmPages(): u32 {
  return ksmSharing(host());
}

/** Scans over all mergeable pages that have begun. */
export function ksmScansBegun(): u32 {
  return ksmScans(mmKsm(host()));
}
