// `pagevisor/export`: what a machine has measured, in formats that other programs read.

export { hgrmFiles, hgrmText } from "./hgrm.js";
export { PerfettoWriter, type ThreadName, threadsOf } from "./perfetto.js";
