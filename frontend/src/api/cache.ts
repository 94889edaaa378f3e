/** What the page remembers of the answers of the API. */
import { hashKey, type InvalidateQueryFilters, type InvalidateOptions, type Query, QueryClient, type QueryKey } from '@tanstack/react-query';

/** An answer counts as stale where something changed after it was asked for: `QueryClient` asks again for what it has an answer to,
 * and takes a first answer that is under way for a fresh one, although it may have been written before the change. */
export class Answers extends QueryClient {
  readonly #early = new WeakSet<Query>();

  override invalidateQueries<Key extends QueryKey = QueryKey>(filters?: InvalidateQueryFilters<Key>, options?: InvalidateOptions): Promise<void> {
    for (const query of this.getQueryCache().findAll(filters as InvalidateQueryFilters)) {
      const underWay = query.state.data === undefined ? query.promise : undefined;
      if (!underWay || this.#early.has(query)) continue;
      this.#early.add(query);
      const settled = (again: boolean): void => {
        this.#early.delete(query);
        if (again) void super.invalidateQueries({ queryKey: query.queryKey, exact: true });
      };
      underWay.then(() => settled(true), () => settled(false));
    }
    return super.invalidateQueries(filters, options);
  }
}

/** Takes what the server has deleted out of a cached answer. One that is under way may have been written before that, and is dropped. */
export async function dropFrom<T>(client: QueryClient, queryKey: QueryKey, rest: (known: T) => T): Promise<void> {
  await client.cancelQueries({ queryKey, exact: true });
  client.setQueryData<T>(queryKey, (known) => known && rest(known));
  void client.invalidateQueries({ queryKey });
}

const PAUSE_MS = 3_000;
const due = new Map<string, ReturnType<typeof setTimeout>>();

/** Asks again for what stands under this key, or under this very key (`exact`): however often it is said, once every few seconds. Whoever
 * says it may be gone by then: nothing that was told is left out. */
export function soon(client: QueryClient, queryKey: readonly string[], { exact = false } = {}): void {
  const name = hashKey([queryKey, exact]);
  if (due.has(name)) return;
  due.set(name, setTimeout(() => { due.delete(name); void client.invalidateQueries({ queryKey, exact }); }, PAUSE_MS));
}
