#!/usr/bin/env node
// The executable `pagevisor`: hands the process to the command line and takes its exit code.

import { main } from "./cli/program.js";
import { processTerminal } from "./cli/terminal.js";

process.exitCode = await main(process.argv.slice(2), processTerminal());
