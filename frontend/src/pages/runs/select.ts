/** Which runs the table shows, in which order. Pure functions of the list and the address. */
import type { RunState, RunSummary } from '../../api/client';

export const STATES: RunState[] = ['running', 'cancelling', 'queued', 'waiting', 'succeeded', 'failed', 'cancelled'];

export interface RunFilter { state: string | null; algorithm: string | null; pipeline: string | null; sweep?: string | null; tag?: string | null; search: string }

export function filterRuns(runs: readonly RunSummary[], filter: RunFilter): RunSummary[] {
  const search = filter.search.trim().toLowerCase();
  return runs.filter(
    (run) =>
      (!filter.state || run.state === filter.state) &&
      (!filter.algorithm || run.algorithm === filter.algorithm) &&
      (!filter.pipeline || run.pipeline === filter.pipeline) &&
      (!filter.sweep || run.sweep === filter.sweep) &&
      (!filter.tag || run.tags.includes(filter.tag)) &&
      (!search || run.name.toLowerCase().includes(search) || run.id.startsWith(search)),
  );
}

export interface Sort { key: string; descending: boolean }

/** `-reward`: highest first. Nothing: newest first. */
export function parseSort(text: string | null): Sort {
  if (!text) return { key: 'created', descending: true };
  return text.startsWith('-') ? { key: text.slice(1), descending: true } : { key: text, descending: false };
}

const KEYS: Record<string, (run: RunSummary) => string | number | null> = {
  name: (run) => run.name.toLowerCase(),
  state: (run) => -STATES.indexOf(run.state),
  progress: (run) => (run.total_steps ? run.step / run.total_steps : null),
  reward: (run) => run.last_reward,
  algorithm: (run) => run.algorithm,
  beta: (run) => run.beta,
  pipeline: (run) => run.pipeline ?? run.sweep ?? null,
  created: (run) => Date.parse(run.created_at),
};

/** Sorted; what has no value stands last in either direction, equal ones stay in the order of the list. */
export function sortRuns(runs: readonly RunSummary[], sort: Sort): RunSummary[] {
  const key = KEYS[sort.key] ?? KEYS.created!;
  const sign = sort.descending ? -1 : 1;
  return runs.toSorted((first, second) => {
    const a = key(first);
    const b = key(second);
    if (a === null || b === null) return a === b ? 0 : a === null ? 1 : -1;
    return a === b ? 0 : a < b ? -sign : sign;
  });
}

export function tally(runs: readonly RunSummary[]): Partial<Record<RunState, number>> {
  const counts: Partial<Record<RunState, number>> = {};
  for (const run of runs) counts[run.state] = (counts[run.state] ?? 0) + 1;
  return counts;
}
