// All VMs of the machine by number (kvm's vm_list): a table of record addresses.

export const MAX_VMS: u32 = 4096;
const COUNT: usize = 0;
const TABLE: usize = 8;
const VMS: usize = memory.data(8 + 4 * 4096, 8);

export function vmTableCount(): u32 {
  return load<u32>(VMS, COUNT);
}

export function vmAt(id: u32): usize {
  assert(id < load<u32>(VMS, COUNT));
  return <usize>load<u32>(VMS + ((<usize>id) << 2), TABLE);
}

export function vmTableAdd(vm: usize): void {
  const id = load<u32>(VMS, COUNT);
  assert(id < MAX_VMS);
  store<u32>(VMS + ((<usize>id) << 2), <u32>vm, TABLE);
  store<u32>(VMS, id + 1, COUNT);
}

export function vmTableInit(): void {
  memory.fill(VMS, 0, 8);
}
