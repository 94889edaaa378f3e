/** Editing what others may edit too: pure functions of what was read, what was typed and what others wrote. */

/** The fields that differ, with their new values. */
export function changes<D extends object>(fields: readonly (keyof D)[], before: D, after: D): Partial<D> {
  const changed = fields.filter((field) => JSON.stringify(before[field]) !== JSON.stringify(after[field]));
  return Object.fromEntries(changed.map((field) => [field, after[field]])) as Partial<D>;
}

/** What was typed, with the others' values where they changed something since it was read. */
export function withTheirs<D extends object>(fields: readonly (keyof D)[], base: D, draft: D, theirs: D): D {
  return { ...(Object.fromEntries(fields.map((field) => [field, draft[field]])) as D), ...changes(fields, base, theirs) };
}

/** `name, notes and tags` */
export function listed(names: readonly string[]): string {
  return names.length > 1 ? `${names.slice(0, -1).join(', ')} and ${names.at(-1)}` : (names[0] ?? '');
}
