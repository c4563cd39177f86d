import { sleepersForget } from "../guest/apfsleep";
import { APF_QUEUE_HEAD, APF_TABLE_NEXT, APF_TABLE_NEXT_BITS } from "../kvm/apf";
import { workFree } from "../kvm/apfqueue";
import {
  apfTableAdd,
  apfTableCount,
  apfTableFind,
  apfTableGrow,
  apfTableRemove,
  checkApfTable,
  hash32,
} from "../kvm/apftable";
import { tokenNumber, tokenOf } from "../kvm/apftoken";
import { vcpuApf } from "../kvm/vcpu";
import { vmVcpuList } from "../kvm/vm";
import { vmAt } from "../kvm/vmtable";
import { arenaInit, arenaTake, PART_RECORDS } from "../memory/arena";
import { E_NO_MEMORY, OK } from "../memory/status";

// Parts of asynchronous page faults on their own, for tests with vectors and models beside them: the hash, the table of gfns, the
// tokens. A core that runs one of these runs no machine.

const RECORD_BYTES: u64 = 256;
const RECORD: usize = memory.data(8, 8);

function record(): usize {
  return <usize>load<u32>(RECORD);
}

/** An empty table of 2^bits places. */
export function apfCaseBegin(bits: u32): i32 {
  arenaInit();
  const apf = arenaTake(PART_RECORDS, RECORD_BYTES);
  if (apf === 0) return E_NO_MEMORY;
  store<u32>(RECORD, <u32>apf);
  return apfCaseGrow(bits);
}

/** The table moves to one of 2^bits places. */
export function apfCaseGrow(bits: u32): i32 {
  const table = arenaTake(PART_RECORDS, (<u64>4) << bits);
  if (table === 0) return E_NO_MEMORY;
  store<u32>(record(), <u32>table, APF_TABLE_NEXT);
  store<u32>(record(), bits, APF_TABLE_NEXT_BITS);
  apfTableGrow(record());
  return OK;
}

export function apfCaseHash(value: u32, bits: u32): u32 {
  return hash32(value, bits);
}

/** The place that `gfn` is put at. */
export function apfCaseAdd(gfn: u32): i32 {
  apfTableAdd(record(), gfn);
  checkApfTable(record());
  return apfTableFind(record(), gfn);
}

export function apfCaseRemove(gfn: u32): void {
  apfTableRemove(record(), gfn);
  checkApfTable(record());
}

/** -1 for none. */
export function apfCaseFind(gfn: u32): i32 {
  return apfTableFind(record(), gfn);
}

export function apfCaseCount(): u32 {
  return apfTableCount(record());
}

/** The token of an attempt of `vcpu` whose turn is `id`. */
export function apfCaseToken(id: u32, vcpu: u32, skipsZero: bool): u32 {
  return tokenOf(tokenNumber(id, skipsZero), vcpu);
}

/** The guest of VM `vm` forgets its dummies: what a guest would be that has none. In a machine that is explored. */
export function apfCaseForget(vm: u32): void {
  sleepersForget(vmVcpuList(vmAt(vm)));
}

/** The oldest work of the first vCPU of VM `vm` is freed, whoever is at it. False: there is none. In a machine that is explored. */
export function apfCaseFreeAgain(vm: u32): bool {
  const vcpu = vmVcpuList(vmAt(vm));
  const work = <usize>load<u32>(vcpuApf(vcpu), APF_QUEUE_HEAD);
  if (work !== 0) workFree(work, vcpu);
  return work !== 0;
}

/** The turn after that. */
export function apfCaseNextId(id: u32, skipsZero: bool): u32 {
  return tokenNumber(id, skipsZero) + 1;
}
