import { frameStamp, MM_KSM } from "./instance";

// The trees of page merging (ksm.ts): nodes in the order of what their frames hold now. Contents compare by a mixed form of their stamps,
// which orders them as well as their bytes would and keeps a tree without rotations flat. A frame whose contents change while its node is
// in a tree is found no more, and may hide others: that is why the tree of pages that can still be written is given up after each scan.
//
// node   0      4       8        12
//        +------+-------+--------+-----+
//        | left | right | parent | pfn |
//        +------+-------+--------+-----+

const LEFT: usize = 0;
const RIGHT: usize = 4;
const PARENT: usize = 8;
const PFN: usize = 12;
export const TREE_NODE_BYTES: usize = 16;

export function setNodePfn(node: usize, pfn: u32): void {
  store<u32>(node, pfn, PFN);
}

/** The frame of a node. */
export function nodePfn(node: usize): u32 {
  return load<u32>(node, PFN);
}

// A permutation of the 32-bit numbers.
function mixed(stamp: u32): u32 {
  let key = (stamp ^ (stamp >> 16)) * 0x7feb352d;
  key = (key ^ (key >> 15)) * 0x846ca68b;
  return key ^ (key >> 16);
}

/** A node whose frame holds `stamp`, 0 for none. `root` is the address of the root's word. */
export function treeFind(mm: usize, root: usize, stamp: u32): usize {
  const key = mixed(stamp);
  let node = <usize>load<u32>(root);
  while (node !== 0) {
    const other = mixed(frameStamp(mm, nodePfn(node)));
    if (other === key) return node;
    node = <usize>load<u32>(node + (key < other ? LEFT : RIGHT));
  }
  return 0;
}

/** Adds `node` for frame `pfn`, unless there is an equal one: then that one is returned, else 0. */
export function treeAdd(mm: usize, root: usize, node: usize, pfn: u32): usize {
  const key = mixed(frameStamp(mm, pfn));
  let parent: usize = 0;
  let place = root;
  while (load<u32>(place) !== 0) {
    parent = <usize>load<u32>(place);
    const other = mixed(frameStamp(mm, nodePfn(parent)));
    if (other === key) return parent;
    place = parent + (key < other ? LEFT : RIGHT);
  }
  store<u32>(node, 0, LEFT);
  store<u32>(node, 0, RIGHT);
  store<u32>(node, <u32>parent, PARENT);
  store<u32>(node, pfn, PFN);
  store<u32>(place, <u32>node);
  return 0;
}

// `by`, or nothing, takes the place of `node` below its parent.
function put(root: usize, node: usize, by: usize): void {
  const parent = <usize>load<u32>(node, PARENT);
  let place = root;
  if (parent !== 0) place = parent + (<usize>load<u32>(parent, LEFT) === node ? LEFT : RIGHT);
  store<u32>(place, <u32>by);
  if (by !== 0) store<u32>(by, <u32>parent, PARENT);
}

function adopt(parent: usize, side: usize, child: usize): void {
  store<u32>(parent + side, <u32>child);
  if (child !== 0) store<u32>(child, <u32>parent, PARENT);
}

export function treeRemove(root: usize, node: usize): void {
  const left = <usize>load<u32>(node, LEFT);
  const right = <usize>load<u32>(node, RIGHT);
  if (left === 0 || right === 0) {
    put(root, node, left === 0 ? right : left);
    return;
  }
  let next = right;
  while (load<u32>(next, LEFT) !== 0) next = <usize>load<u32>(next, LEFT);
  if (next !== right) {
    put(root, next, <usize>load<u32>(next, RIGHT));
    adopt(next, RIGHT, right);
  }
  put(root, node, next);
  adopt(next, LEFT, left);
}

/** `by`, for frame `pfn` of the same contents, takes the place of `node`. */
export function treeReplace(root: usize, node: usize, by: usize, pfn: u32): void {
  store<u32>(by, pfn, PFN);
  put(root, node, by);
  adopt(by, LEFT, <usize>load<u32>(node, LEFT));
  adopt(by, RIGHT, <usize>load<u32>(node, RIGHT));
}

/** The record of ksm.ts, 0 without page merging. */
export function mmKsm(mm: usize): usize {
  return <usize>load<u32>(mm, MM_KSM);
}

export function setMmKsm(mm: usize, ksm: usize): void {
  store<u32>(mm, <u32>ksm, MM_KSM);
}
