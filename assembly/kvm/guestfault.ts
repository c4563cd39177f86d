import { actorSpend, STAGE_CPU } from "../sim/actor";
import { COST_GUEST_EXCEPTION_NS, COST_MEM_DRAM_NS, cost } from "../sim/costs";
import { APF_CPL } from "./apf";
import { pageFaultBegin } from "./fault";
import {
  GPTE_ACCESSED,
  GPTE_DIRTY,
  GPTE_PRESENT,
  GPTE_USER,
  GPTE_WRITE,
  GUEST_LEVELS,
  gpteGfn,
  gpteIsLeaf,
  gpteOf,
} from "./gpte";
import { guestKernelPage } from "./guestspace";
import { guestEntryAt, guestTableTake } from "./guesttables";
import { spteSet } from "./leafbits";
import { shadowLeaf, vcpuCr3, vmGuestTables, vmPresetBits } from "./roots";
import { guestStore } from "./shadowfault";
import { spteAccessed, spteAllows, spteDirty } from "./spte";
import { PF_EMULATED, PF_VA, PF_WRITE, USER_MODE, VCPU_HANDLER, vcpuApf, vcpuVm } from "./vcpu";
import { vmFormat } from "./vm";

// The guest's own handler of page faults: it gives the page that an access wants to the one that wants it. Its stores to the tables are
// accesses like any other, from kernel mode, and may fault in the host. What it still has to do is read from the tables each time.

const TABLE_BITS: u64 = GPTE_PRESENT | GPTE_WRITE | GPTE_USER | GPTE_ACCESSED;

// The next store: frame of the table, index of the entry, and the level.
const TABLE: usize = 0;
const PAGE: usize = 4;
const LEVEL: usize = 8;
const NEXT: usize = memory.data(12, 8);

/** The guest is in its handler. */
export function guestHandles(vcpu: usize): bool {
  return load<u32>(vcpu, VCPU_HANDLER) !== 0;
}

/**
 * Goes on with the handler for an access to `page`. True: it has ended, and the access is repeated. False: a store of its has faulted.
 */
export function guestHandle(vcpu: usize, page: u32, write: bool): bool {
  const vm = vcpuVm(vcpu);
  while (findStore(vcpu, page, write)) {
    const gfn = load<u32>(NEXT, TABLE);
    if (load<u32>(vcpu, PF_EMULATED) !== 0) {
      store<u32>(vcpu, 0, PF_EMULATED);
    } else {
      const at = guestKernelPage(vm, vcpuCr3(vcpu), gfn);
      const leaf = shadowLeaf(vcpu, at);
      if (leaf === 0 || !spteAllows(load<u64>(leaf), true)) {
        setPrivilege(vcpu, 0);
        pageFaultBegin(vcpu, at, true);
        return false;
      }
      const format = vmFormat(vm);
      spteSet(vm, leaf, load<u64>(leaf) | spteAccessed(format) | spteDirty(format));
      actorSpend(vcpu, STAGE_CPU, cost(COST_MEM_DRAM_NS));
    }
    make(vcpu, page, write);
  }
  actorSpend(vcpu, STAGE_CPU, cost(COST_GUEST_EXCEPTION_NS));
  setPrivilege(vcpu, load<u32>(vcpu, USER_MODE) !== 0 ? 3 : 0);
  store<u32>(vcpu, 0, VCPU_HANDLER);
  store<u32>(vcpu, page, PF_VA);
  store<u32>(vcpu, write ? 1 : 0, PF_WRITE);
  return true;
}

// Where a task could be put to sleep: not in the handler.
function setPrivilege(vcpu: usize, cpl: u32): void {
  const apf = vcpuApf(vcpu);
  if (apf !== 0 && load<u32>(apf, APF_CPL) <= 3) store<u32>(apf, cpl, APF_CPL);
}

// What an entry on the way must have.
function wanted(vcpu: usize, level: u32, leaf: bool, write: bool): u64 {
  if (!leaf) return TABLE_BITS;
  const user = load<u32>(vcpu, USER_MODE) !== 0 ? GPTE_USER : 0;
  return GPTE_PRESENT | user | (write ? GPTE_WRITE : 0);
}

// The highest entry that does not allow the access. False: all do.
function findStore(vcpu: usize, page: u32, write: bool): bool {
  const tables = vmGuestTables(vcpuVm(vcpu));
  let gfn = vcpuCr3(vcpu);
  for (let level = GUEST_LEVELS; level > 0; level--) {
    const gpte = load<u64>(guestEntryAt(tables, gfn, page, level));
    const leaf = gpteIsLeaf(gpte, level);
    const bits = wanted(vcpu, level, leaf, write) & ~GPTE_ACCESSED;
    if ((gpte & bits) !== bits) {
      store<u32>(NEXT, gfn, TABLE);
      store<u32>(NEXT, page, PAGE);
      store<u32>(NEXT, level, LEVEL);
      return true;
    }
    if (leaf) return false;
    gfn = gpteGfn(gpte);
  }
  return false;
}

function make(vcpu: usize, page: u32, write: bool): void {
  const tables = vmGuestTables(vcpuVm(vcpu));
  const gfn = load<u32>(NEXT, TABLE);
  const level = load<u32>(NEXT, LEVEL);
  const index = (page >> (9 * (level - 1))) & 511;
  const old = load<u64>(guestEntryAt(tables, gfn, page, level));
  const leaf = gpteIsLeaf(old, level);
  let gpte = old | wanted(vcpu, level, leaf, write);
  if ((old & GPTE_PRESENT) === 0) {
    gpte = leaf
      ? gpteOf(page, GPTE_PRESENT | GPTE_WRITE | GPTE_USER)
      : gpteOf(guestTableTake(tables), TABLE_BITS);
    if (leaf && vmPresetBits(vcpuVm(vcpu))) gpte |= GPTE_ACCESSED | GPTE_DIRTY;
  }
  guestStore(vcpu, gfn, index, gpte);
}
