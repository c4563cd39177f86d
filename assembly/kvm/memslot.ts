// A memory slot (struct kvm_memory_slot): guest frames baseGfn .. baseGfn + npages - 1 are backed by as many pages of the
// process from userspaceAddr on. Several slots may be backed by the same pages.
//
// record   0         4        8               16      20   24      28         40           48      52       56     60
//          +---------+--------+---------------+-------+----+-------+----------+------------+-------+--------+------+--------+
//          | baseGfn | npages | userspaceAddr | flags | id | first | rmap × 3 | lpage × 2  | dirty | second | next | bitmap |
//          +---------+--------+---------------+-------+----+-------+----------+------------+-------+--------+------+--------+
//
// first    number of the first page that backs it (mapping.ts)
// rmap     heads of the reverse map by level, 0 while the slot has none
// lpage    lpage_info of the 2 MiB and the 1 GiB frames
// dirty    the dirty bitmap and its snapshot (dirtylog.ts), 0 without
// bitmap   address and bytes of the memory for both, which the record keeps for the next slot

const BASE_GFN: usize = 0;
const NPAGES: usize = 4;
const USERSPACE_ADDR: usize = 8; // u64
const FLAGS: usize = 16;
const ID: usize = 20;
const FIRST: usize = 24;
const RMAP: usize = 28; // u32 × 3
const LPAGE: usize = 40; // u32 × 2
const DIRTY: usize = 48;
const DIRTY_SECOND: usize = 52;
const NEXT_FREE: usize = 56;
const BITMAP: usize = 60;
const BITMAP_BYTES: usize = 64;
export const MEMSLOT_BYTES: usize = 72;

export const KVM_MEM_LOG_DIRTY_PAGES: u32 = 1 << 0;
export const KVM_MEM_READONLY: u32 = 1 << 1;
/** The slot is being deleted or moved: faults on it start over. */
export const KVM_MEMSLOT_INVALID: u32 = 1 << 16;

/** The kernel maps the slot's memory itself (KVM_SET_MEMORY_REGION, `user_alloc` 0, in 2008). */
export const KVM_MEM_KERNEL: u32 = 1 << 17;

// First page of a slot without an address: behind all pages of a process, so that no notifier's range meets the slot.
const FIRST_NONE: u32 = 0x80000000;

/** KVM_USER_MEM_SLOTS: 32767, less the three that KVM keeps for itself. */
export const MEMSLOT_IDS: u32 = 32764;

export function memslotInit(slot: usize, id: u32, baseGfn: u32, npages: u32, hva: u64, flags: u32): void {
  memory.fill(slot, 0, BITMAP);
  store<u32>(slot, baseGfn, BASE_GFN);
  store<u32>(slot, npages, NPAGES);
  store<u64>(slot, hva, USERSPACE_ADDR);
  store<u32>(slot, flags, FLAGS);
  store<u32>(slot, id, ID);
}

export function memslotGfn(slot: usize): u32 {
  return load<u32>(slot, BASE_GFN);
}

export function setMemslotGfn(slot: usize, gfn: u32): void {
  store<u32>(slot, gfn, BASE_GFN);
}

export function memslotPages(slot: usize): u32 {
  return load<u32>(slot, NPAGES);
}

export function memslotHva(slot: usize): u64 {
  return load<u64>(slot, USERSPACE_ADDR);
}

export function memslotFlags(slot: usize): u32 {
  return load<u32>(slot, FLAGS);
}

export function setMemslotFlags(slot: usize, flags: u32): void {
  store<u32>(slot, flags, FLAGS);
}

/** A fault on the slot must start over: it is being deleted or moved. */
export function memslotInvalid(slot: usize): bool {
  return (load<u32>(slot, FLAGS) & KVM_MEMSLOT_INVALID) !== 0;
}

/** The guest's writes go to the monitor. */
export function memslotReadOnly(slot: usize): bool {
  return (load<u32>(slot, FLAGS) & KVM_MEM_READONLY) !== 0;
}

export function memslotId(slot: usize): u32 {
  return load<u32>(slot, ID);
}

/** The kernel is mapping the slot's memory: it has no address yet, and whoever looks for it passes it over. */
export function memslotUnbacked(slot: usize): bool {
  return load<u64>(slot, USERSPACE_ADDR) === 0;
}

export function setMemslotUnbacked(slot: usize): void {
  store<u64>(slot, 0, USERSPACE_ADDR);
  store<u32>(slot, FIRST_NONE, FIRST);
}

/** The slot's memory lies at `hva`, from page `index` of the process on. */
export function setMemslotBacked(slot: usize, hva: u64, index: u32): void {
  store<u64>(slot, hva, USERSPACE_ADDR);
  store<u32>(slot, index, FIRST);
}

/** Number of the first page that backs the slot. */
export function memslotFirst(slot: usize): u32 {
  return load<u32>(slot, FIRST);
}

export function setMemslotFirst(slot: usize, index: u32): void {
  store<u32>(slot, index, FIRST);
}

export function memslotHolds(slot: usize, gfn: u32): bool {
  return gfn - load<u32>(slot, BASE_GFN) < load<u32>(slot, NPAGES);
}

/** Page that backs `gfn`, which the slot holds. */
export function memslotIndex(slot: usize, gfn: u32): u32 {
  assert(memslotHolds(slot, gfn));
  return load<u32>(slot, FIRST) + (gfn - load<u32>(slot, BASE_GFN));
}

/** Guest frame of the slot that page `index` backs. */
export function memslotGfnOf(slot: usize, index: u32): u32 {
  assert(index - load<u32>(slot, FIRST) < load<u32>(slot, NPAGES));
  return load<u32>(slot, BASE_GFN) + (index - load<u32>(slot, FIRST));
}

/** Number of the frame of `level` (1: 4 KiB, 2: 2 MiB, 3: 1 GiB) that holds `gfn`, counted from the slot's first one. */
export function memslotFrame(slot: usize, gfn: u32, level: u32): u32 {
  const shift = 9 * (level - 1);
  return (gfn >> shift) - (load<u32>(slot, BASE_GFN) >> shift);
}

/** Frames of `level` that the slot touches, the first and the last one included. */
export function memslotFrames(slot: usize, level: u32): u32 {
  return memslotFrame(slot, load<u32>(slot, BASE_GFN) + load<u32>(slot, NPAGES) - 1, level) + 1;
}

/** Address of the slot's heads of `level`, 0 without. */
export function memslotRmap(slot: usize, level: u32): usize {
  assert(level >= 1 && level <= 3);
  return <usize>load<u32>(slot + ((<usize>(level - 1)) << 2), RMAP);
}

export function setMemslotRmap(slot: usize, level: u32, heads: usize): void {
  assert(level >= 1 && level <= 3);
  store<u32>(slot + ((<usize>(level - 1)) << 2), <u32>heads, RMAP);
}

/** Address of the slot's lpage_info of `level`, 2 or 3; 0 without. */
export function memslotLpage(slot: usize, level: u32): usize {
  assert(level === 2 || level === 3);
  return <usize>load<u32>(slot + ((<usize>(level - 2)) << 2), LPAGE);
}

export function setMemslotLpage(slot: usize, level: u32, info: usize): void {
  assert(level === 2 || level === 3);
  store<u32>(slot + ((<usize>(level - 2)) << 2), <u32>info, LPAGE);
}

/** Address of the dirty bitmap, 0 without. */
export function memslotDirty(slot: usize): usize {
  return <usize>load<u32>(slot, DIRTY);
}

/** Its snapshot, the second half of the kernel's allocation. */
export function memslotDirtySecond(slot: usize): usize {
  return <usize>load<u32>(slot, DIRTY_SECOND);
}

export function setMemslotDirty(slot: usize, bitmap: usize, second: usize): void {
  store<u32>(slot, <u32>bitmap, DIRTY);
  store<u32>(slot, <u32>second, DIRTY_SECOND);
}

/** Memory that the record has for a dirty bitmap and its snapshot: its address, and its bytes, 0 for none. */
export function memslotBitmap(slot: usize): usize {
  return <usize>load<u32>(slot, BITMAP);
}

export function memslotBitmapBytes(slot: usize): u32 {
  return load<u32>(slot, BITMAP_BYTES);
}

export function setMemslotBitmap(slot: usize, bitmap: usize, bytes: u32): void {
  store<u32>(slot, <u32>bitmap, BITMAP);
  store<u32>(slot, bytes, BITMAP_BYTES);
}

/** The record behind this one on the list of unused records. */
export function memslotNextFree(slot: usize): usize {
  return <usize>load<u32>(slot, NEXT_FREE);
}

export function setMemslotNextFree(slot: usize, next: usize): void {
  store<u32>(slot, <u32>next, NEXT_FREE);
}
