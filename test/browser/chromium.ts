// A headless Chromium and a server on this machine for it: the package's own files, and pages that a test makes.

import { readFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { extname, join, normalize } from "node:path";
import { type Browser, chromium, type Page } from "playwright-core";
import { ROOT } from "../scenes.js";

const TYPES: Record<string, string> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".mjs": "text/javascript",
  ".json": "application/json",
  ".wasm": "application/wasm",
};

/** Debian's. */
export const EXECUTABLE = process.env.CHROMIUM ?? "/usr/bin/chromium";

export interface Stage {
  browser: Browser;
  /** Shows a page with this text. */
  show(html: string): Promise<Page>;
  /** What the browser asked for, since the start. */
  requests: string[];
  close(): Promise<void>;
}

/** Opens the browser. `files` are served beside the package's own, by path. */
export async function openStage(files: Record<string, string | Uint8Array> = {}): Promise<Stage> {
  const served = new Map(Object.entries(files));
  const requests: string[] = [];
  const server: Server = createServer((request, response) => {
    const path = normalize(new URL(request.url ?? "/", "http://localhost").pathname);
    requests.push(path);
    try {
      const body = served.get(path) ?? readFileSync(join(ROOT, path));
      response.writeHead(200, { "content-type": TYPES[extname(path)] ?? "application/octet-stream" });
      response.end(body);
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const browser = await chromium.launch({
    executablePath: EXECUTABLE,
    args: [
      "--headless",
      "--no-sandbox",
      "--disable-gpu",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
  let pages = 0;
  return {
    browser,
    requests,
    show: async (html) => {
      const path = `/page-${++pages}.html`;
      served.set(path, html);
      const page = await browser.newPage();
      await page.goto(`http://127.0.0.1:${port}${path}`);
      return page;
    },
    close: async () => {
      await browser.close();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
