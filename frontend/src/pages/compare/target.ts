/** A reward to reach, as it stands in the address or in its field. */

/** `null` for what is no number, an empty text among it: `Number('')` would be 0. */
export function finite(text: string | number | null): number | null {
  if (text === null || String(text).trim() === '') return null;
  const read = Number(text);
  return Number.isFinite(read) ? read : null;
}
