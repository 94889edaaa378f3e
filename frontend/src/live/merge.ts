/** How a live event enters what the page already knows. Pure functions. */
import type { RunSummary } from '../api/client';

/** `rev` grows with every change of a run, so an older event never undoes a newer one. */
export function isNewer(known: RunSummary | undefined, arrived: RunSummary): boolean {
  return known === undefined || arrived.rev > known.rev;
}

/** The list with the run put in its place: replaced where known, first where new (the list is newest first). */
export function mergeRun(list: readonly RunSummary[], arrived: RunSummary): readonly RunSummary[] {
  const index = list.findIndex((run) => run.id === arrived.id);
  if (index < 0) {
    const place = list.findIndex((run) => Date.parse(run.created_at) <= Date.parse(arrived.created_at));
    return place < 0 ? [...list, arrived] : list.toSpliced(place, 0, arrived);
  }
  return isNewer(list[index], arrived) ? list.with(index, arrived) : list;
}

export function removeRun(list: readonly RunSummary[], id: string): readonly RunSummary[] {
  return list.some((run) => run.id === id) ? list.filter((run) => run.id !== id) : list;
}

const NONE: ReadonlySet<string> = new Set();

/** A list that took a while to fetch, with what live events have told meanwhile: changes, and runs that were made since it began. Those
 * that were known `before` and are missing were deleted, and `gone` were deleted although an answer may still have them. */
export function withLive(fetched: readonly RunSummary[], known: readonly RunSummary[] = [], before = NONE, gone = NONE): readonly RunSummary[] {
  const there = fetched.filter((run) => !gone.has(run.id));
  const byId = new Map(there.map((run) => [run.id, run]));
  return known.filter((run) => (byId.has(run.id) ? isNewer(byId.get(run.id), run) : !before.has(run.id) && !gone.has(run.id))).reduce(mergeRun, there);
}
