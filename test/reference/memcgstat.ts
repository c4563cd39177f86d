// When the counters of cgroups that reclaim compares are brought up to date: not before enough of them have changed (cgroup rstat).

const BATCH = 64;

export class MemcgStats {
  /** By CPU, since it last added to `enough`. */
  private readonly changes: number[];
  private enough = 0;

  constructor(private readonly cpus: number) {
    this.changes = Array.from({ length: cpus }, () => 0);
  }

  /** One counter has changed by `pages`. */
  changed(cpu: number, pages: number): void {
    this.changes[cpu]! += pages;
    if (this.changes[cpu]! <= BATCH) return;
    if (this.enough <= this.cpus) this.enough += Math.floor(this.changes[cpu]! / BATCH);
    this.changes[cpu] = 0;
  }

  /** So many changes by one page. */
  events(cpu: number, count: number): void {
    for (let event = 0; event < count; event++) this.changed(cpu, 1);
  }

  /** Whether the counters are brought up to date now. */
  flush(): boolean {
    if (this.enough <= this.cpus) return false;
    this.flushed();
    return true;
  }

  /** They have been brought up to date. */
  flushed(): void {
    this.enough = 0;
  }
}
