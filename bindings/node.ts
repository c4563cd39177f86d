// The library as Node has it: sweeps run in worker threads. Everything else is the same file for file.

export * from "./index.js";
export { sweep } from "./sweep/threads.js";
