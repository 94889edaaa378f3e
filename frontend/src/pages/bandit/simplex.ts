/** Probabilities under sliders: what moving one of them does to the others. */

const FINEST = 1e4;

/** To four decimals, with a sum of one: what rounding leaves over goes to the largest. None below `floor`. */
export function rounded(shares: readonly number[], floor = 0): number[] {
  const sum = shares.reduce((total, share) => total + share, 0);
  const parts = shares.map((share) => Math.max(Math.round((share / sum) * FINEST), Math.ceil(floor * FINEST)));
  parts[parts.indexOf(Math.max(...parts))]! += FINEST - parts.reduce((total, part) => total + part, 0);
  return parts.map((part) => part / FINEST);
}

/**
 * `shares` with the one at `index` at `value`; the others keep their proportions, and what is zero stays zero.
 * Where all others are zero they share the rest evenly.
 */
export function withShare(shares: readonly number[], index: number, value: number, floor = 0): number[] {
  const others = shares.length - 1;
  const own = Math.min(1 - floor * others, Math.max(floor, value));
  const rest = shares.reduce((total, share, at) => (at === index ? total : total + share), 0);
  return rounded(shares.map((share, at) => (at === index ? own : rest > 0 ? (share / rest) * (1 - own) : (1 - own) / others)), floor);
}

/** The same distribution over `arms` arms: a new arm gets an even share, a dropped one leaves its share to the others. */
export function withArms(shares: readonly number[], arms: number, floor = 0): number[] {
  if (arms > shares.length) {
    const grown = shares.length + 1;
    return withArms(rounded([...shares.map((share) => (share * (grown - 1)) / grown), 1 / grown], floor), arms, floor);
  }
  const kept = shares.slice(0, arms);
  return kept.some((share) => share > 0) ? rounded(kept, floor) : rounded(kept.map(() => 1), floor);
}

export const uniform = (arms: number): number[] => rounded(Array<number>(arms).fill(1));
