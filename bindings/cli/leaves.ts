// A value as the paths of its leaves: "vms.db.faults.major.count". Elements of a list that have a name go by it, others by their number.

/** The leaves of `value` that `keep` accepts, in order. */
export function leavesOf<T>(value: unknown, keep: (leaf: unknown) => leaf is T, path = ""): Map<string, T> {
  const found = new Map<string, T>();
  const add = (key: string, part: unknown): void => {
    for (const [name, leaf] of leavesOf(part, keep, path === "" ? key : `${path}.${key}`))
      found.set(name, leaf);
  };
  if (Array.isArray(value)) {
    for (const [index, part] of value.entries()) add(nameOf(part) ?? String(index), part);
  } else if (typeof value === "object" && value !== null) {
    for (const [key, part] of Object.entries(value)) add(key, part);
  } else if (keep(value)) {
    found.set(path, value);
  }
  return found;
}

function nameOf(part: unknown): string | undefined {
  if (typeof part !== "object" || part === null || !("name" in part)) return undefined;
  return typeof part.name === "string" && part.name !== "" ? part.name : undefined;
}
