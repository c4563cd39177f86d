// Files on disk, in Node only. Loaded when first needed, and free of `node:` imports, so that a bundle for the browser
// contains it without harm.

/**
 * Reads a file.
 *
 * @param file absolute, or relative to `baseDir`
 * @param baseDir the working directory if undefined
 * @param error makes the error to throw from what is wrong
 */
export function readNodeFile(
  file: string,
  baseDir: string | undefined,
  error: (wrong: string, cause: unknown) => Error,
): Uint8Array {
  const { readFileSync } = process.getBuiltinModule("node:fs");
  const path = process.getBuiltinModule("node:path").resolve(baseDir ?? ".", file);
  try {
    return readFileSync(path);
  } catch (cause) {
    throw error(reason(cause, path), cause);
  }
}

function reason(cause: unknown, path: string): string {
  const where = JSON.stringify(path);
  const code = cause instanceof Error && "code" in cause ? cause.code : undefined;
  if (code === "ENOENT") return `no such file ${where}`;
  if (code === "EISDIR") return `${where} is a directory`;
  if (code === "EACCES") return `no permission to read ${where}`;
  return `cannot read ${where} (${String(code ?? cause).replace(/\s+/g, " ")})`;
}
