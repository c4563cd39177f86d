// How the tracepoints of KVM's MMUs print (system kvmmmu), field by field as the kernel prints them, and the exits of page faults. What a
// field holds is said where it is emitted (assembly/kvm/mmutrace.ts).

/** What a record holds besides its header. */
export type Args = readonly [bigint, bigint, bigint, bigint];

export const hex = (value: bigint): string => `0x${value.toString(16)}`;
export const hex16 = (value: bigint): string => `0x${value.toString(16).padStart(16, "0")}`;
const bare = (value: bigint): string => value.toString(16);
const bit = (value: bigint, position: number): boolean => ((value >> BigInt(position)) & 1n) === 1n;

/** Format 1 is that of NPT; where an exit is meant, 2 that of shadow paging, 3 a write to CR3, and 4 a walk of EPT that met an MMIO spte. */
const isNpt = (format: bigint): boolean => format === 1n;

/** Reason and information of an exit for a page fault: the qualification of EPT, or what NPT's hardware says. */
export function faultExit(error: bigint, gpa: bigint, format: bigint): string {
  if (format === 3n) return `reason write_cr3 rip 0x0 info1 ${hex16(0n)} info2 ${hex16(0n)}`;
  if (format === 4n) return `reason EPT_MISCONFIG rip 0x0 info1 ${hex16(0n)} info2 ${hex16(0n)}`;
  if (format === 2n) return `reason PF excp rip 0x0 info1 ${hex16(error)} info2 ${hex16(gpa)}`;
  if (isNpt(format)) return `reason npf rip 0x0 info1 ${hex16(error)} info2 ${hex16(gpa)}`;
  // Read or write; what the entry allows: read and execute; the linear address is valid, and was being translated.
  const access = bit(error, 1) ? 2n : 1n;
  const rights = bit(error, 0) ? 0b101n << 3n : 0n;
  return `reason EPT_VIOLATION rip 0x0 info1 ${hex16(0x180n | rights | access)} info2 ${hex16(0n)}`;
}

const PFERR_NAMES = ["P", "W", "U", "RSVD", "F"];

/** The flags of an error code by their letters. */
function errorFlags(error: bigint): string {
  return PFERR_NAMES.filter((_, position) => bit(error, position)).join("|");
}

/** `r`, `w`, `x` and, where the format has that bit, `u`; `-` for what is not allowed. */
function rights(spte: bigint, format: bigint): string {
  const letter = (allowed: boolean, name: string): string => (allowed ? name : "-");
  const executable = isNpt(format) ? !bit(spte, 63) : bit(spte, 2);
  const user = isNpt(format) ? letter(bit(spte, 2), "u") : "";
  return letter(bit(spte, 0), "r") + letter(bit(spte, 1), "w") + letter(executable, "x") + user;
}

const ACCESS = ["---", "--x", "w--", "w-x", "-u-", "-ux", "wu-", "wux"];

/** A page of sptes: what it maps and its role (shadowpage.ts draws the bits). */
function shadowPage([gfn, role, rootCount]: Args, unsync = false): string {
  const field = (shift: number, mask: bigint): bigint => (role >> BigInt(shift)) & mask;
  const not = (flag: boolean): string => (flag ? "" : "!");
  const kind = `l${field(0, 15n)} ${bit(role, 4) ? 4 : 8}-byte q${field(5, 3n)}${bit(role, 7) ? " direct" : ""}`;
  const state = `${bit(role, 11) ? " invalid" : ""} ${not(bit(role, 12))}nxe ${not(!bit(role, 16))}ad`;
  return `sp gen 0 gfn ${bare(gfn)} ${kind} ${ACCESS[Number(field(8, 7n))]}${state} root ${rootCount} ${unsync ? "unsync" : "sync"}`;
}

/** By the name of the constant in the core without TRACE_. */
export const MMU_FORMATS: Record<string, (args: Args) => string> = {
  FAST_PAGE_FAULT: ([vcpu, gpa, old, spte]) => fastPageFault(vcpu, gpa, old, spte),
  KVM_MMU_GET_PAGE: (args) => `${shadowPage(args)} ${args[3] === 1n ? "new" : "existing"}`,
  KVM_MMU_PREPARE_ZAP_PAGE: (args) => shadowPage(args),
  KVM_MMU_SYNC_PAGE: (args) => shadowPage(args, args[3] === 1n),
  KVM_MMU_UNSYNC_PAGE: (args) => shadowPage(args, args[3] === 1n),
  KVM_MMU_SET_SPTE: ([gfn, spte, levelAndFormat, at]) =>
    `gfn ${bare(gfn)} spte ${bare(spte)} (${rights(spte, levelAndFormat >> 8n)}) level ${levelAndFormat & 255n} at ${bare(at)}`,
  KVM_MMU_PAGETABLE_WALK: ([address, error]) =>
    `addr ${bare(address)} pferr ${bare(error)} ${errorFlags(error)}`,
  KVM_MMU_PAGING_ELEMENT: ([gpte, level]) => `pte ${bare(gpte)} level ${level}`,
  KVM_MMU_WALKER_ERROR: ([error]) => `pferr ${bare(error)} ${errorFlags(error)}`,
  KVM_MMU_SET_ACCESSED_BIT: ([gpa]) => `gpa ${bare(gpa)}`,
  KVM_MMU_SET_DIRTY_BIT: ([gpa]) => `gpa ${bare(gpa)}`,
  KVM_MMU_SPLIT_HUGE_PAGE: ([gfn, spte, level, errno]) =>
    `gfn ${bare(gfn)} spte ${bare(spte)} level ${level} errno ${errno}`,
  KVM_MMU_SPTE_REQUESTED: ([gfn, pfn, level]) => `gfn ${bare(gfn)} pfn ${bare(pfn)} level ${level}`,
  KVM_MMU_ZAP_ALL_FAST: ([generation, used]) => `kvm-mmu-valid-gen ${generation} used_pages ${bare(used)}`,
  MARK_MMIO_SPTE: ([place, gfn, access, generation]) =>
    `sptep:${pointer(place)} gfn ${bare(gfn)} access ${bare(access)} gen ${bare(generation)}`,
  HANDLE_MMIO_PAGE_FAULT: ([address, gfn, access]) =>
    `addr:${bare(address)} gfn ${bare(gfn)} access ${bare(access)}`,
  CHECK_MMIO_SPTE: ([spte, now, made, valid]) =>
    `spte ${bare(spte)} kvm_gen ${bare(now)} spte-gen ${bare(made)} valid ${valid}`,
  KVM_TDP_MMU_SPTE_CHANGED: ([level, gfn, old, spte]) =>
    `as id 0 gfn ${bare(gfn)} level ${level} old_spte ${bare(old)} new_spte ${bare(spte)}`,
};

// The first field holds more than the vCPU: its number, then the error code from bit 16 and the outcome in bits 62 and 63.
function fastPageFault(first: bigint, gpa: bigint, old: bigint, spte: bigint): string {
  const error = (first >> 16n) & 0xffffn;
  const [spurious, fixed] = [62, 63].map((position) => Number(bit(first, position)));
  return (
    `vcpu ${first & 0xffffn} gva ${bare(gpa & ~0xfffn)} error_code ${errorFlags(error)} sptep ${pointer(gpa & 0xfffn)} ` +
    `old ${hex(old)} new ${bare(spte)} spurious ${spurious} fixed ${fixed}`
  );
}

// The kernel hides addresses: what it prints only tells equal ones from others.
function pointer(place: bigint): string {
  return (0xffff0000n + place).toString(16).padStart(16, "0");
}
