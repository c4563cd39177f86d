import { pagerCreate, pagerStart, pagerStop } from "../kvm/pager";
import { vmSpace } from "../kvm/vm";
import { vmAt } from "../kvm/vmtable";
import { E_NO_MEMORY, OK } from "../memory/status";
import { spaceUserfault } from "../mm/space";
import { userfaultServer } from "../mm/userfault";
import { addActor } from "./giveback";
import { actorCount, now } from "./state";

// The pager of a VM as somebody outside sees it: whether there is one, and what it supplies.

/** Gives a VM a pager that supplies nothing yet; at set-up. */
export function configPager(vm: u32): i32 {
  const pager = pagerCreate(vmAt(vm), actorCount());
  if (pager === 0) return E_NO_MEMORY;
  addActor(pager);
  return OK;
}

/** The VM's pager supplies pages start..end-1 of the process from now on: KVM's and everybody's faults there ask it. */
export function pagerSupply(vm: u32, start: u32, end: u32, newestFirst: bool, quietNs: u32): void {
  pagerStart(userfaultServer(spaceUserfault(vmSpace(vmAt(vm)))), start, end, newestFirst, quietNs);
}

/** The VM's pager supplies nothing from now on. */
export function pagerEnd(vm: u32): void {
  pagerStop(userfaultServer(spaceUserfault(vmSpace(vmAt(vm)))), now());
}
