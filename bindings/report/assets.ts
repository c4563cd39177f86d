// What a report holds beside its figures. The build (scripts/bundle.mjs) puts the script of page/ with uPlot in it, and the styles, in place
// of this file's code.

/** The page's script. */
export const SCRIPT: string = "";
/** The page's styles. */
export const STYLE: string = "";
