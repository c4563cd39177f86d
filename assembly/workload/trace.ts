import { arenaReserve, arenaTake, PART_RECORDS, PART_WORKLOADS } from "../memory/arena";

// Traces: the words of each input file once, however many tasks replay it. The binding copies them in after boot.
//
// record   0         4       8
//          +---------+-------+------+
//          | address | words | next |
//          +---------+-------+------+

const ADDRESS: usize = 0;
const WORDS: usize = 4;
const NEXT: usize = 8;
const TRACE_BYTES: usize = 12;

const FIRST: usize = memory.data(8, 8);

export function tracesInit(): void {
  store<u32>(FIRST, 0);
}

/** Takes the record of a trace of `words` accesses; 0 when memory is exhausted. */
export function traceCreate(words: u32): usize {
  const trace = arenaTake(PART_RECORDS, TRACE_BYTES);
  if (trace === 0) return 0;
  store<u32>(trace, words, WORDS);
  store<u32>(trace, load<u32>(FIRST), NEXT);
  store<u32>(FIRST, <u32>trace);
  return trace;
}

export function tracesLayout(): void {
  for (let trace = <usize>load<u32>(FIRST); trace !== 0; trace = <usize>load<u32>(trace, NEXT)) {
    store<u32>(trace, <u32>arenaReserve(PART_WORKLOADS, (<u64>load<u32>(trace, WORDS)) << 2), ADDRESS);
  }
}

/** Address of the words of `trace`; after the layout. */
export function traceWords(trace: usize): usize {
  return <usize>load<u32>(trace, ADDRESS);
}
