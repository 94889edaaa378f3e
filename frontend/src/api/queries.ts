/** Every question the page asks, by its cache key. */
import { notifications } from '@mantine/notifications';
import { type QueryClient, useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { useCallback } from 'react';
import { applyRun, forgetRun, goneRuns } from '../live/live';
import { withLive } from '../live/merge';
import { api, data, type DataSetList, messageOf, type RunSummary } from './client';
import { useKept } from './deleting';

const MOST = 20_000;
const PAGE = 500; // the most that the API gives at once
const MOST_AT_ONCE = 1000; // runs of which the API takes an action in one request

/** Every run, newest first: the table sorts and filters what is here, live events keep it fresh. Ten thousand take seconds, so the
 * newest are shown while the others come. */
async function allRuns({ client }: { client: QueryClient }): Promise<readonly RunSummary[]> {
  const known = () => client.getQueryData<readonly RunSummary[]>(['runs']);
  const begins = known() === undefined;
  const before = new Set(known()?.map((run) => run.id));
  const items: RunSummary[] = [];
  let cursor: string | null | undefined;
  do {
    const page = await data(api.GET('/api/v1/runs', { params: { query: { limit: PAGE, cursor: cursor ?? undefined } } }));
    items.push(...page.items);
    cursor = page.next_cursor;
    if (begins && cursor && items.length === page.items.length) client.setQueryData(['runs'], withLive([...items], known(), before, goneRuns));
  } while (cursor && items.length < MOST);
  return withLive(items, known(), before, goneRuns);
}

export function useRuns() {
  const kept = useKept();
  const select = useCallback((list: readonly RunSummary[]) => kept(list, (run) => [run.id, run.sweep]), [kept]);
  return useQuery({ queryKey: ['runs'], queryFn: allRuns, select });
}
export const useRun = (run: string) =>
  useQuery({ queryKey: ['run', run], queryFn: () => data(api.GET('/api/v1/runs/{run_id}', { params: { path: { run_id: run } } })) });
export const useAlgorithms = () =>
  useQuery({ queryKey: ['algorithms'], queryFn: async () => (await data(api.GET('/api/v1/algorithms'))).items, staleTime: Infinity });
export const useModels = () => useQuery({ queryKey: ['models'], queryFn: async () => (await data(api.GET('/api/v1/models'))).items });
/** While one is analysed, the list is asked again: an analysis takes seconds, and no event tells of it. */
export function useDatasets() {
  const kept = useKept();
  const select = useCallback((list: DataSetList) => ({ ...list, items: kept(list.items, (one) => [one.id]) }), [kept]);
  return useQuery({ queryKey: ['datasets'], queryFn: () => data(api.GET('/api/v1/datasets')), select, refetchInterval: (query) => (query.state.data?.items.some((one) => one.state === 'analysing') ? 1000 : false) });
}
export const useDataset = (id: string) =>
  useQuery({ queryKey: ['dataset', id], queryFn: () => data(api.GET('/api/v1/datasets/{dataset_id}', { params: { path: { dataset_id: id } } })), refetchInterval: (query) => (query.state.data?.state === 'analysing' ? 1000 : false) });
export const useBanditPresets = () =>
  useQuery({ queryKey: ['bandit-presets'], queryFn: async () => (await data(api.GET('/api/v1/bandit/presets'))).items, staleTime: Infinity });
/** Names of pipelines by id, of all of them: the runs that show them are all there too. */
async function pipelineNames(): Promise<ReadonlyMap<string, string>> {
  const names = new Map<string, string>();
  let cursor: string | null | undefined;
  do {
    const page = await data(api.GET('/api/v1/pipelines', { params: { query: { limit: 200, cursor: cursor ?? undefined } } }));
    for (const one of page.items) names.set(one.id, one.name);
    cursor = page.next_cursor;
  } while (cursor && names.size < MOST);
  return names;
}

export const usePipelineNames = () => useQuery({ queryKey: ['pipelines'], queryFn: pipelineNames });
export const useHealth = () => useQuery({ queryKey: ['health'], queryFn: () => data(api.GET('/api/v1/health')), refetchInterval: 10_000 });
export const useWorkers = () => useQuery({ queryKey: ['workers'], queryFn: () => data(api.GET('/api/v1/workers')), refetchInterval: 5_000 });
export const useQueue = () => useQuery({ queryKey: ['queue'], queryFn: () => data(api.GET('/api/v1/queue')), refetchInterval: 3_000 });

/** Pause or resume handing runs out, or ask a worker to leave. What they changed is asked for again. */
export function useSteer() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: async (order: 'pause' | 'resume' | { drain: string }) => {
      if (order === 'pause') await data(api.POST('/api/v1/queue/pause'));
      else if (order === 'resume') await data(api.POST('/api/v1/queue/resume'));
      else await data(api.POST('/api/v1/workers/{name}/drain', { params: { path: { name: order.drain } } }));
    },
    onSettled: () => Promise.all([client.invalidateQueries({ queryKey: ['queue'] }), client.invalidateQueries({ queryKey: ['workers'] })]),
    onError: (error) => notifications.show({ color: 'red', message: messageOf(error) }),
  });
}

export type Action = 'cancel' | 'resume' | 'retry' | 'delete';

/** What may be asked of a run in its state; the server has the last word. */
export function actionsFor(run: Pick<RunSummary, 'state' | 'error_kind'>): Action[] {
  switch (run.state) {
    case 'running': return ['cancel'];
    case 'waiting':
    case 'queued': return ['cancel', 'delete'];
    case 'failed': // What diverged would go through the same steps again.
      return run.error_kind === 'diverged' ? ['retry', 'delete'] : ['resume', 'retry', 'delete'];
    case 'cancelled': return ['resume', 'retry', 'delete'];
    case 'succeeded': return ['delete'];
    default: return [];
  }
}

/** Ask the same of several runs, or only whether they would do it (`rehearsed`); those that refuse are told together. */
export function useAct() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: async ({ action, runs, rehearsed = false }: { action: Action; runs: readonly RunSummary[]; rehearsed?: boolean }) => {
      const refused: string[] = [];
      for (let begin = 0; begin < runs.length; begin += MOST_AT_ONCE) {
        const ids = runs.slice(begin, begin + MOST_AT_ONCE).map((run) => run.id);
        const answer = await data(api.POST('/api/v1/runs/bulk', { body: { action, ids, dry_run: rehearsed } }));
        for (const { id, name, outcome, reason, run } of answer.items) {
          if (outcome === 'refused') refused.push(runs.length > 1 && name ? `${name}: ${reason}` : reason);
          else if (rehearsed) continue;
          else if (run) {
            applyRun(client, run);
            void client.invalidateQueries({ queryKey: ['run', id] });
          } else forgetRun(client, id);
        }
      }
      if (refused.length) throw new Error(refused.join('\n'));
    },
  });
}
