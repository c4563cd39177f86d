import { setMmGenerations, setMmNodes } from "../mm/instance";
import { setReadaheadMax } from "../mm/swapstate";
import { host } from "./state";

// What the scenario says of the host's reclaim, before the VMs are added.

/** Generation lists (MGLRU) for all VMs, which are added afterwards, instead of an active and an inactive list. */
export function configGenerations(): void {
  setMmGenerations(host());
}

/** The host's NUMA nodes, of which the first has all memory that is managed here. */
export function configNodes(nodes: u32): void {
  setMmNodes(host(), nodes);
}

/** 2^page_cluster: the largest window of pages that is read ahead from swap, a power of two. */
export function configReadahead(pages: u32): void {
  setReadaheadMax(host(), pages);
}
