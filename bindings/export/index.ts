// `pagevisor/export`: what a machine has measured, in formats that other programs read.

export { type ThreadName, threadsOf } from "../threads.js";
export { hgrmFiles, hgrmText } from "./hgrm.js";
export { PerfettoWriter } from "./perfetto.js";
