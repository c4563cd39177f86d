import { GPTE_ACCESSED, GPTE_DIRTY, GPTE_PRESENT, gpteGfn } from "./gpte";
import { guestMapIdentity, guestTableAt, guestTablesPlace, guestTableTake } from "./guesttables";
import { gpteAccess } from "./guestwalk";
import { legacyNewest } from "./legacypages";
import { memslotGfn, memslotPages } from "./memslot";
import { memslotAt, memslotCount } from "./memslots";
import { checkMmio } from "./mmio";
import {
  checkRoots,
  setVcpuCr3,
  setVmGuestRoot,
  vmGuestTableFrames,
  vmGuestTables,
  vmPresetBits,
} from "./roots";
import { spAccess, spEntryGfn, spGfn, spIndirect, spLevel, spOlder, spTable, spUnsync } from "./shadowpage";
import { ACC_USER, ACC_WRITE, SPTE_NONE, SPTE_WRITE, sptePresent, spteUser } from "./spte";
import { checkProtected } from "./unsync";
import { STEP_ROOT, vcpuNext } from "./vcpu";
import { vmFormat, vmSlots, vmTablePool, vmVcpuList } from "./vm";
import { LEVEL_4K, TABLE_ENTRIES } from "./walk";

// The guest's tables as they are when time starts: one set, in the last frames of the lowest slot, that maps every slot at its own
// addresses. All vCPUs begin with it; those of tasks (guestspace.ts) come behind it.

/** Fills the tables in and points every vCPU's CR3 to them. */
export function shadowStart(vm: usize): void {
  const tables = vmGuestTables(vm);
  const slots = vmSlots(vm);
  const home = lowest(slots);
  guestTablesPlace(tables, memslotGfn(home) + memslotPages(home) - vmGuestTableFrames(vm));
  const root = guestTableTake(tables);
  setVmGuestRoot(vm, root);
  for (let place: u32 = 0; place < memslotCount(slots); place++) {
    const slot = memslotAt(slots, place);
    guestMapIdentity(tables, root, memslotGfn(slot), memslotPages(slot), vmPresetBits(vm), false);
  }
  for (let vcpu = vmVcpuList(vm); vcpu !== 0; vcpu = vcpuNext(vcpu)) {
    setVcpuCr3(vcpu, root);
    store<u32>(vcpu, root, STEP_ROOT);
  }
}

function lowest(slots: usize): usize {
  let found = memslotAt(slots, 0);
  for (let place: u32 = 1; place < memslotCount(slots); place++) {
    const slot = memslotAt(slots, place);
    if (memslotGfn(slot) < memslotGfn(found)) found = slot;
  }
  return found;
}

/** Roots, protection of tables, and each page in sync against the guest's table: it allows nothing that the table does not. */
export function checkShadow(vm: usize): void {
  checkRoots(vm);
  for (let sp = legacyNewest(vm); sp !== 0; sp = spOlder(sp)) {
    if (!spIndirect(sp)) continue;
    assert(!spUnsync(sp) || spLevel(sp) === LEVEL_4K);
    checkProtected(vm, sp);
    if (spLevel(sp) === LEVEL_4K && !spUnsync(sp)) checkPage(vm, sp);
  }
}

function checkPage(vm: usize, sp: usize): void {
  const table = guestTableAt(vmGuestTables(vm), spGfn(sp));
  for (let index: u32 = 0; index < TABLE_ENTRIES; index++) {
    const spte = load<u64>(spTable(sp) + ((<usize>index) << 3));
    if (spte === SPTE_NONE) continue;
    const gpte = load<u64>(table + ((<usize>index) << 3));
    if (!sptePresent(spte)) {
      checkMmio(vm, gpteGfn(gpte), spte);
      continue;
    }
    const access = gpteAccess(gpte) & spAccess(sp);
    assert((gpte & GPTE_PRESENT) !== 0 && (gpte & GPTE_ACCESSED) !== 0);
    assert(gpteGfn(gpte) === spEntryGfn(vmTablePool(vm), sp, index));
    if (spte & spteUser(vmFormat(vm))) assert((access & ACC_USER) !== 0);
    if (spte & SPTE_WRITE) assert((access & ACC_WRITE) !== 0 && (gpte & GPTE_DIRTY) !== 0);
  }
}
