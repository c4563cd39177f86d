import { arenaReserve, PART_INTEGRITY, PART_SPTES } from "../memory/arena";
import { unitsFor } from "../memory/layout";
import { spacePages } from "../mm/space";
import { vcpuDirectoryMoved, vcpuNext } from "./vcpu";
import {
  VM_DIRECTORY,
  VM_EXPECTED,
  VM_GFN_END,
  VM_NOTICES,
  VM_WRITTEN,
  vmDirectory,
  vmExpected,
  vmGfnEnd,
  vmIsShadow,
  vmSpace,
  vmSpteRefs,
  vmVcpuList,
  vmVcpus,
} from "./vm";
import { directoryGrown } from "./walk";

// What a VM keeps for each guest frame and for each page of its process moves to a larger place when it gets a slot that nobody foresaw.

// What vmGrow() has reserved; 0 for what stays.
const DIRECTORY: usize = 0;
const NOTICES: usize = 4;
const WRITTEN: usize = 8;
const EXPECTED: usize = 12;
const OWN: usize = 16;
const GROWN_BYTES: usize = 20;
const GROWN: usize = memory.data(20, 4);

/**
 * Reserves what is kept for each frame, for frames below `gfnEnd`, and, if the VM's process gets room for `room` pages (0: it has enough), what is kept
 * for each page; after arenaCommit() vmMove() follows.
 */
export function vmGrow(vm: usize, gfnEnd: u32, room: u32): void {
  memory.fill(GROWN, 0, GROWN_BYTES);
  const directory = unitsFor(gfnEnd, 512) << 2;
  if (gfnEnd > vmGfnEnd(vm)) {
    reserve(DIRECTORY, PART_SPTES, directory);
    if (vmIsShadow(vm)) reserve(OWN, PART_SPTES, directory * vmVcpus(vm)); // one for each vCPU
  }
  if (room === 0) return;
  if (vmSpteRefs(vm)) reserve(NOTICES, PART_SPTES, (<u64>room) << 1);
  if (vmExpected(vm) === 0) return;
  reserve(WRITTEN, PART_INTEGRITY, (<u64>room) << 3);
  reserve(EXPECTED, PART_INTEGRITY, (<u64>room) << 2);
}

function reserve(field: usize, part: u32, bytes: u64): void {
  store<u32>(GROWN + field, <u32>arenaReserve(part, bytes));
}

/** All that moves to where vmGrow() has made room; before the process maps more. */
export function vmMove(vm: usize, gfnEnd: u32): void {
  const pages = spacePages(vmSpace(vm));
  move(vm, VM_DIRECTORY, DIRECTORY, (<u32>unitsFor(vmGfnEnd(vm), 512)) << 2);
  move(vm, VM_NOTICES, NOTICES, pages << 1);
  move(vm, VM_WRITTEN, WRITTEN, pages << 3);
  move(vm, VM_EXPECTED, EXPECTED, pages << 2);
  store<u32>(vm, gfnEnd, VM_GFN_END);
  if (load<u32>(GROWN, DIRECTORY) === 0) return;
  directoryGrown(vm);
  let own = <usize>load<u32>(GROWN, OWN);
  for (let vcpu = vmVcpuList(vm); vcpu !== 0; vcpu = vcpuNext(vcpu)) {
    vcpuDirectoryMoved(vcpu, own === 0 ? vmDirectory(vm) : own);
    if (own !== 0) own += <usize>(unitsFor(gfnEnd, 512) << 2);
  }
}

function move(vm: usize, field: usize, grown: usize, bytes: u32): void {
  const to = load<u32>(GROWN + grown);
  if (to === 0) return;
  memory.copy(<usize>to, <usize>load<u32>(vm + field), <usize>bytes);
  store<u32>(vm + field, to);
}
