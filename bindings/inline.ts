// The library with its core inside, as one file without imports: for pages without a bundler, and for bundlers that copy no `.wasm`. What is
// compiled from this file gives its types; scripts/bundle.mjs puts the bundle in place of its code.

export * from "./index.js";
