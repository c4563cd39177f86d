// `pagevisor/report`: a run as one HTML file that needs nothing else, readable without a network.

export { type HtmlOptions, reportHtml } from "./html.js";
export { type Moment, type RecordOptions, type RunRecord, recordRun } from "./record.js";
