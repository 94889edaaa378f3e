/** What was fetched about several runs follows them, at most every few seconds however many of them report. */
import { useQueryClient } from '@tanstack/react-query';
import { useEffect } from 'react';
import { soon } from '../api/cache';
import type { RunSummary } from '../api/client';
import { useLive } from './live';

/** `root` is how the keys of the queries begin that any event of `runs` makes stale. `each`, always the same function, is handed every
 * event at once, and null when everything should be asked again. */
export function useRefresh(root: readonly string[], runs: readonly string[], each?: (run: RunSummary | null) => void): void {
  const client = useQueryClient();
  const { listen } = useLive();
  const key = JSON.stringify(root);
  const ids = runs.join();
  useEffect(() => {
    const told = (run: RunSummary | null): void => { each?.(run); soon(client, JSON.parse(key) as string[]); };
    const stops = [...new Set(ids.split(','))].filter(Boolean).map((run) => listen(run, told));
    return () => stops.forEach((stop) => stop());
  }, [client, listen, key, ids, each]);
}
