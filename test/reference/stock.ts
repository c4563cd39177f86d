// The charge of pages to cgroups (mm.md 4.5): a CPU charges a batch at once and keeps the rest for the same cgroup; near the limit
// pages are charged one by one.

import type { Vm } from "./vm.js";

export class Stocks {
  private readonly stocks = new Map<number, { vm: Vm; pages: number }>();

  /** Charges one page. False at the limit. */
  charge(cpu: number, vm: Vm, single: boolean): boolean {
    const stock = this.stocks.get(cpu);
    if (stock?.vm === vm && stock.pages > 0) {
      stock.pages--;
      return true;
    }
    const { chargeBatch: batch } = vm.memcg;
    if (!single && batch > 1 && vm.usage + batch <= vm.max) {
      vm.usage += batch;
      if (stock !== undefined && stock.vm !== vm) this.give(cpu);
      const kept = this.stocks.get(cpu)?.pages ?? 0;
      this.stocks.set(cpu, { vm, pages: kept + batch - 1 });
      return true;
    }
    if (vm.usage >= vm.max) return false;
    vm.usage++;
    return true;
  }

  private give(cpu: number): void {
    const { vm, pages } = this.stocks.get(cpu)!;
    vm.usage -= pages;
    this.stocks.delete(cpu);
  }

  /** What the CPUs keep for the cgroup is charged no more. */
  drain(vm: Vm): void {
    for (const [cpu, stock] of [...this.stocks]) if (stock.vm === vm) this.give(cpu);
  }
}
