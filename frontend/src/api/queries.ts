/** Every question the page asks, by its cache key. */
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { applyRun } from '../live/live';
import { removeRun } from '../live/merge';
import { api, data, type RunDetail, type RunSummary } from './client';

const MOST = 5000;

/** Every run, newest first: the table sorts and filters what is here, live events keep it fresh. */
async function allRuns(): Promise<readonly RunSummary[]> {
  const items: RunSummary[] = [];
  let cursor: string | null | undefined;
  do {
    const page = await data(api.GET('/api/v1/runs', { params: { query: { limit: 200, cursor: cursor ?? undefined } } }));
    items.push(...page.items);
    cursor = page.next_cursor;
  } while (cursor && items.length < MOST);
  return items;
}

export const useRuns = () => useQuery({ queryKey: ['runs'], queryFn: allRuns });
export const useRun = (run: string) =>
  useQuery({ queryKey: ['run', run], queryFn: () => data(api.GET('/api/v1/runs/{run_id}', { params: { path: { run_id: run } } })) });
export const useAlgorithms = () =>
  useQuery({ queryKey: ['algorithms'], queryFn: async () => (await data(api.GET('/api/v1/algorithms'))).items, staleTime: Infinity });
export const useModels = () => useQuery({ queryKey: ['models'], queryFn: async () => (await data(api.GET('/api/v1/models'))).items });
export const useBanditPresets = () =>
  useQuery({ queryKey: ['bandit-presets'], queryFn: async () => (await data(api.GET('/api/v1/bandit/presets'))).items, staleTime: Infinity });
export const usePipelines = () => useQuery({ queryKey: ['pipelines'], queryFn: async () => (await data(api.GET('/api/v1/pipelines'))).items });
export const useHealth = () => useQuery({ queryKey: ['health'], queryFn: () => data(api.GET('/api/v1/health')), refetchInterval: 10_000 });
export const useWorkers = () => useQuery({ queryKey: ['workers'], queryFn: () => data(api.GET('/api/v1/workers')), refetchInterval: 5_000 });

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

const path = (run: string) => ({ params: { path: { run_id: run } } });
async function act(action: Action, run: string): Promise<RunDetail | null> {
  switch (action) {
    case 'cancel': return data(api.POST('/api/v1/runs/{run_id}/cancel', path(run)));
    case 'resume': return data(api.POST('/api/v1/runs/{run_id}/resume', path(run)));
    case 'retry': return data(api.POST('/api/v1/runs/{run_id}/retry', path(run)));
    case 'delete': await api.DELETE('/api/v1/runs/{run_id}', path(run)); return null;
  }
}

/** Ask the same of several runs; those that refuse are told together. */
export function useAct() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: async ({ action, runs }: { action: Action; runs: readonly RunSummary[] }) => {
      const refused: string[] = [];
      for (const run of runs) {
        try {
          const answer = await act(action, run.id);
          if (answer) {
            applyRun(client, answer);
            void client.invalidateQueries({ queryKey: ['run', run.id] });
          } else {
            client.setQueryData<readonly RunSummary[]>(['runs'], (list) => list && removeRun(list, run.id));
          }
        } catch (error) {
          refused.push(`${run.name}: ${error instanceof Error ? error.message : String(error)}`);
        }
      }
      if (refused.length) throw new Error(refused.join('\n'));
    },
  });
}
