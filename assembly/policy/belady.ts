import {
  checkKeyset,
  KEYSET_BYTES,
  keysetAdd,
  keysetGreatest,
  keysetHas,
  keysetLayout,
  keysetRemove,
  keysetReset,
} from "./keyset";
import { nextUseKey } from "./nextuse";
import { Policy } from "./policy";

// Belady's MIN, the optimum: evicts the page whose next reference is farthest. Offline: it knows the trace, and the references that it
// is told of must be those of the trace, one by one from the first.
//
// A resident page stands in a set by its key (nextuse.ts): the place of its next reference in the trace, or a number of its own
// above all places when it is never used again. The greatest key is the victim, and the trace says whose it is.
//
// invariant: the keys in the set are those of the resident pages, and none lies before `now`

const PAGE_MASK: u32 = 0x7fffffff;

@unmanaged
export class Belady extends Policy {
  /** The reference that comes next, by its place in the trace. */
  now: u32;
  /** Key of a resident page, u32 each. */
  keyOf: usize;
  // The set's record follows the fields.
  keys: u32;

  set(): usize {
    return changetype<usize>(this) + offsetof<Belady>("keys");
  }

  layout(at: u64): u64 {
    const keys = this.place(at, 0);
    this.keyOf = <usize>keys;
    this.scratch = this.keyOf;
    return keysetLayout(this.set(), this.references + this.pages, keys + ((<u64>this.pages + 1) & ~1) * 4);
  }

  adopt(old: Belady): void {
    this.adoptPages(old, 0);
    memory.copy(this.keyOf, old.keyOf, (<usize>old.pages) << 2);
    keysetReset(this.set());
    for (let page: u32 = 0; page < old.pages; page++) {
      if (this.resident(page)) keysetAdd(this.set(), this.key(page));
    }
  }

  reset(): void {
    this.clearStates();
    this.now = 0;
    keysetReset(this.set());
  }

  key(page: u32): u32 {
    return load<u32>(this.keyOf + ((<usize>page) << 2));
  }

  // The reference to `page` that is due has come: its key is that of the one after.
  advance(page: u32): void {
    assert(
      this.now < this.references && (load<u32>(this.trace + ((<usize>this.now) << 2)) & PAGE_MASK) === page,
    );
    const key = nextUseKey(this.nextUses, this.now);
    store<u32>(this.keyOf + ((<usize>page) << 2), key);
    keysetAdd(this.set(), key);
    this.now++;
  }

  hit(page: u32): void {
    assert(this.key(page) === this.now);
    keysetRemove(this.set(), this.now);
    this.advance(page);
  }

  evict(page: u32): u32 {
    assert(page < this.pages && this.used > 0);
    const key = keysetGreatest(this.set());
    const references = this.references;
    const victim =
      key < references ? load<u32>(this.trace + ((<usize>key) << 2)) & PAGE_MASK : key - references;
    this.forget(victim);
    return victim;
  }

  enter(page: u32): void {
    this.join(page, 0);
    this.advance(page);
  }

  forget(page: u32): void {
    if (!this.resident(page)) return;
    this.leave(page, 0);
    keysetRemove(this.set(), this.key(page));
  }

  check(): void {
    for (let page: u32 = 0; page < this.pages; page++) {
      if (!this.resident(page)) continue;
      assert(keysetHas(this.set(), this.key(page)));
      assert(this.key(page) >= this.now);
    }
    assert(checkKeyset(this.set()) === this.checkUsed());
  }
}

/** Bytes of the record with its set. */
export const BELADY_BYTES: usize = offsetof<Belady>("keys") + KEYSET_BYTES;
