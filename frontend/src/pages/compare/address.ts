/** What is chosen, read from the address or from its field. */

/** `null` for what is no number, an empty text among it: `Number('')` would be 0. */
export function finite(text: string | number | null): number | null {
  if (text === null || String(text).trim() === '') return null;
  const read = Number(text);
  return Number.isFinite(read) ? read : null;
}

const MOST_SMOOTHING = 100; // evaluations on either side, as the API takes them

/** Over how many evaluations curves are smoothed: what `copg figure` and a report's link may ask for, more than the slider reaches. */
export const smoothingOf = (text: string | null): number => Math.min(MOST_SMOOTHING, Math.max(0, Math.round(Number(text)) || 0));
