// When each reference's page is referenced again: what an offline policy knows of the future. One u32 a reference, the key: the place
// of the page's next reference in the trace, or references + page when there is none, so that keys of different pages differ.

const PAGE_MASK: u32 = 0x7fffffff;

/** Bytes for a trace of `references` words. */
export function nextUseBytes(references: u32): u64 {
  return (<u64>references) << 2;
}

export function nextUseKey(nextUses: usize, reference: u32): u32 {
  return load<u32>(nextUses + ((<usize>reference) << 2));
}

/**
 * Fills in the keys, from the last reference to the first.
 * @param scratch address of one u32 a page; what it holds afterwards is of no use
 */
export function nextUseBuild(
  trace: usize,
  references: u32,
  pages: u32,
  nextUses: usize,
  scratch: usize,
): void {
  for (let page: u32 = 0; page < pages; page++) store<u32>(scratch + ((<usize>page) << 2), references + page);
  for (let reference = references; reference > 0; ) {
    reference--;
    const page = load<u32>(trace + ((<usize>reference) << 2)) & PAGE_MASK;
    assert(page < pages);
    const later = scratch + ((<usize>page) << 2);
    store<u32>(nextUses + ((<usize>reference) << 2), load<u32>(later));
    store<u32>(later, reference);
  }
}
