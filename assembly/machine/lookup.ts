import { taskWorkload } from "../guest/task";
import { vcpuNext } from "../kvm/vcpu";
import { vmVcpuList, vmVcpus } from "../kvm/vm";
import { taskAt } from "./state";

// Records by the numbers that the binding uses.

export function vcpuAt(vm: usize, index: u32): usize {
  assert(index < vmVcpus(vm));
  let vcpu = vmVcpuList(vm);
  while (index > 0) {
    vcpu = vcpuNext(vcpu);
    index--;
  }
  return vcpu;
}

export function workloadOf(task: u32): usize {
  return taskWorkload(taskAt(task));
}
