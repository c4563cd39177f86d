import { unitsFor } from "../memory/layout";

// What every idealized policy has: how much memory holds, one byte of state and one pair of links a page, all indexed by the
// page's number. A policy sees every reference and evicts one page at a time, just before another one enters.
//
// states   u8 × pages                        links   {next u32, previous u32} × (pages + queues)
//          +---+-----------------+                   +--------+--------+-----+---------+-----
//          | R | the policy's    |                   | page 0 | page 1 | ... | queue 0 | ...
//          +---+-----------------+                   +--------+--------+-----+---------+-----
//
// The operations, the same for all (registry.ts calls them):
//   layout(at)        places the arrays from address `at` on, returns the end
//   reset()           empties memory and forgets everything
//   hit(page)         a reference to a resident page
//   evict(page)       memory is full and `page` is about to enter: picks a resident page, takes it out, returns it
//   enter(page)       a page that is not resident enters; this is its first reference
//   forget(page)      a page goes for another reason than the policy's choice, and with it what is known about it
//   adopt(old)        layout() has placed arrays for more pages: they take over what stands in those of `old`, the record as it was
//   check()           walks the whole structure and asserts its invariants
//
// invariant: used is the number of pages with R set

/** No page. */
export const PAGE_NONE: u32 = 0xffffffff;

/** The page is in memory. */
export const RESIDENT: u8 = 0x80;
/** The page is about to enter: evict() has met it among the ghosts and taken it off their queue. */
export const COMING: u8 = 0x40;

const LINK_SHIFT: usize = 3;

@unmanaged
export class Policy {
  /** POLICY_*: whose operations these are. */
  kind: u32;
  /** Pages that memory holds, 1..room. May be changed right before a page enters, or before the evictions that make room for it. */
  capacity: u32;
  /** The largest capacity that there will be. */
  room: u32;
  /** Page numbers are below this. */
  pages: u32;
  /** Resident pages. */
  used: u32;
  states: usize;
  links: usize;
  /** For policies that know the future: the references to come, and for each of them the key of nextuse.ts. */
  trace: usize;
  nextUses: usize;
  references: u32;
  /** Room for one u32 a page that is free before reset(). */
  scratch: usize;

  state(page: u32): u8 {
    return load<u8>(this.states + page);
  }

  setState(page: u32, state: u8): void {
    store<u8>(this.states + page, state);
  }

  resident(page: u32): bool {
    return (load<u8>(this.states + page) & RESIDENT) !== 0;
  }

  full(): bool {
    return this.used >= this.capacity;
  }

  /** The page enters with `state`. */
  join(page: u32, state: u8): void {
    assert(page < this.pages && !this.resident(page));
    this.setState(page, RESIDENT | state);
    this.used++;
  }

  /** The resident page leaves; `state` remembers it. */
  leave(page: u32, state: u8): void {
    assert(this.resident(page));
    this.setState(page, state);
    this.used--;
  }

  /** Places states and links with `nodes` queues (and the like) behind those of the pages. */
  place(at: u64, nodes: u32): u64 {
    this.states = <usize>at;
    const links = at + (unitsFor(this.pages, 8) << 3);
    this.links = <usize>links;
    return links + ((<u64>this.pages + nodes) << LINK_SHIFT);
  }

  /** adopt() of states and links, with `nodes` queues behind the pages, which get other numbers. */
  adoptPages(old: Policy, nodes: u32): void {
    memory.copy(this.states, old.states, old.pages);
    for (let node: u32 = 0; node < old.pages + nodes; node++) {
      const from = old.links + ((<usize>node) << LINK_SHIFT);
      const to = this.links + ((<usize>this.renumbered(old, node)) << LINK_SHIFT);
      store<u32>(to, this.renumbered(old, load<u32>(from)));
      store<u32>(to, this.renumbered(old, load<u32>(from, 4)), 4);
    }
  }

  /** What was `node`. */
  renumbered(old: Policy, node: u32): u32 {
    return node < old.pages ? node : node + (this.pages - old.pages);
  }

  clearStates(): void {
    memory.fill(this.states, 0, this.pages);
    this.used = 0;
  }

  /** Asserts that as many pages are resident as `used` says; returns them. */
  checkUsed(): u32 {
    let resident: u32 = 0;
    for (let page: u32 = 0; page < this.pages; page++) resident += u32(this.resident(page));
    assert(resident === this.used);
    return resident;
  }
}
