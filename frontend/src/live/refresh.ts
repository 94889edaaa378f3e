/** What was fetched about several runs follows them, at most every 3 s however many of them report. */
import { useQueryClient } from '@tanstack/react-query';
import { useEffect } from 'react';
import { useLive } from './live';

const PAUSE = 3_000;

/** `root` is how the keys of the queries begin that any event of `runs` makes stale. */
export function useRefresh(root: readonly string[], runs: readonly string[]): void {
  const client = useQueryClient();
  const { listen } = useLive();
  const key = JSON.stringify(root);
  const ids = runs.join();
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const refresh = (): void => { clearTimeout(timer); timer = undefined; void client.invalidateQueries({ queryKey: JSON.parse(key) as string[] }); };
    const told = (): void => { timer ??= setTimeout(refresh, PAUSE); };
    const stops = [...new Set(ids.split(','))].filter(Boolean).map((run) => listen(run, told));
    return () => { stops.forEach((stop) => stop()); if (timer !== undefined) refresh(); }; // nothing that was told is left out
  }, [client, listen, key, ids]);
}
