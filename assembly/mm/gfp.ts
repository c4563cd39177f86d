// Flags of an allocation request (gfp) and what the allocator makes of them, with the values of a 6.1 kernel.

export const GFP_DMA: u32 = 0x1;
export const GFP_HIGHMEM: u32 = 0x2;
export const GFP_DMA32: u32 = 0x4;
export const GFP_MOVABLE: u32 = 0x8;
export const GFP_RECLAIMABLE: u32 = 0x10;
export const GFP_HIGH: u32 = 0x20;
export const GFP_IO: u32 = 0x40;
export const GFP_FS: u32 = 0x80;
export const GFP_ZERO: u32 = 0x100;
export const GFP_ATOMIC: u32 = 0x200;
export const GFP_DIRECT_RECLAIM: u32 = 0x400;
export const GFP_KSWAPD_RECLAIM: u32 = 0x800;
/** Pages of a larger request become one compound page. */
export const GFP_COMP: u32 = 0x40000;
export const GFP_NOMEMALLOC: u32 = 0x80000;
export const GFP_HARDWALL: u32 = 0x100000;
export const GFP_ACCOUNT: u32 = 0x400000;

/** A page of a user's anonymous memory: GFP_HIGHUSER_MOVABLE. */
export const GFP_USER_PAGE: u32 =
  GFP_MOVABLE | GFP_HIGHMEM | GFP_IO | GFP_FS | GFP_DIRECT_RECLAIM | GFP_KSWAPD_RECLAIM | GFP_HARDWALL;
/** A page table: GFP_KERNEL_ACCOUNT. */
export const GFP_TABLE_PAGE: u32 = GFP_IO | GFP_FS | GFP_DIRECT_RECLAIM | GFP_KSWAPD_RECLAIM | GFP_ACCOUNT;

/** Without waiting, and so that kswapd learns of it: GFP_NOWAIT; the same from where waiting is out of the question: GFP_ATOMIC. */
export const GFP_NO_WAIT: u32 = GFP_KSWAPD_RECLAIM;
export const GFP_NO_SLEEP: u32 = GFP_HIGH | GFP_ATOMIC | GFP_KSWAPD_RECLAIM;

// Migratetypes in numeric order; those below MIGRATE_PCPTYPES stand on per-CPU lists and may be merged with each other.
export const MIGRATE_UNMOVABLE: u32 = 0;
export const MIGRATE_MOVABLE: u32 = 1;
export const MIGRATE_RECLAIMABLE: u32 = 2;
export const MIGRATE_HIGHATOMIC: u32 = 3;
export const MIGRATE_ISOLATE: u32 = 4;
export const MIGRATE_TYPES: u32 = 5;
export const MIGRATE_PCPTYPES: u32 = 3;

/** gfp_migratetype(). */
export function gfpMigratetype(gfp: u32): u32 {
  return (gfp & (GFP_MOVABLE | GFP_RECLAIMABLE)) >> 3;
}

// Zones in index order.
export const ZONE_DMA: u32 = 0;
export const ZONE_DMA32: u32 = 1;
export const ZONE_NORMAL: u32 = 2;
export const ZONE_MOVABLE: u32 = 3;
export const MAX_ZONES: u32 = 4;

/** gfp_zone(): the highest zone that the request may use; on 64 bit highmem alone means nothing. */
export function gfpZone(gfp: u32): u32 {
  if (gfp & GFP_DMA) return ZONE_DMA;
  if (gfp & GFP_DMA32) return ZONE_DMA32;
  const movable = GFP_MOVABLE | GFP_HIGHMEM;
  return (gfp & movable) === movable ? ZONE_MOVABLE : ZONE_NORMAL;
}

// What the allocator may do for a request (alloc_flags). The lowest two bits name the watermark.
export const WMARK_MIN: u32 = 0;
export const WMARK_LOW: u32 = 1;
export const WMARK_HIGH: u32 = 2;
export const ALLOC_WMARK_MASK: u32 = 3;
export const ALLOC_HARDER: u32 = 0x10;
export const ALLOC_HIGH: u32 = 0x20;
export const ALLOC_NOFRAGMENT: u32 = 0x100;
export const ALLOC_KSWAPD: u32 = 0x800;
