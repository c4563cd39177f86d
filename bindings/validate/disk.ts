// Reading captures from disk. Free of `node:` imports, so that a bundle for the browser contains it without harm; there every read
// is refused.

import { PagevisorError } from "../errors.js";

/** The text of a file; what is gzip is seen by its first bytes. @throws PagevisorError E_FILE */
export function textOf(file: string): string {
  const bytes = reading(file, () => node().fs.readFileSync(file));
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes.toString("utf8");
  try {
    return node().zlib.gunzipSync(bytes).toString("utf8");
  } catch (cause) {
    throw fileError(file, "truncated or corrupt gzip", cause);
  }
}

/** Calls the file system; its errors become E_FILE with `path`. */
export function reading<T>(path: string, read: () => T): T {
  try {
    return read();
  } catch (cause) {
    if (cause instanceof PagevisorError) throw cause;
    throw fileError(path, reason(cause), cause);
  }
}

function reason(cause: unknown): string {
  const code = cause instanceof Error && "code" in cause ? cause.code : undefined;
  if (code === "ENOENT") return "no such file or directory";
  if (code === "EACCES") return "no permission to read";
  return `cannot read (${String(code ?? cause).replace(/\s+/g, " ")})`;
}

export function fileError(where: string, wrong: string, cause?: unknown): PagevisorError {
  return new PagevisorError("E_FILE", `${where}: ${wrong}`, { cause });
}

/** Node's modules, asked for at run time. */
export function node() {
  const builtin = globalThis.process?.getBuiltinModule;
  if (builtin === undefined) {
    throw new PagevisorError("E_FILE", "validate reads captures from disk, which a browser has not");
  }
  return { fs: builtin("node:fs"), path: builtin("node:path"), zlib: builtin("node:zlib") };
}
