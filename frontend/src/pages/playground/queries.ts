/** What the playground asks. */
import { useInfiniteQuery, useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { useAttempt } from '../../api/attempt';
import { api, data, type Trial, type TrialRequest } from '../../api/client';

const ASK_AGAIN = 700; // ms; no event tells of a trial, and one takes seconds

export const isActive = (trial: Pick<Trial, 'state'>): boolean => trial.state === 'queued' || trial.state === 'waiting' || trial.state === 'running' || trial.state === 'cancelling';

export const useTrialForm = () => useQuery({ queryKey: ['trial-form'], queryFn: () => data(api.GET('/api/v1/trials/form')), staleTime: Infinity });

export const useTrial = (id: string | undefined) =>
  useQuery({
    queryKey: ['trial', id],
    queryFn: () => data(api.GET('/api/v1/trials/{trial_id}', { params: { path: { trial_id: id! } } })),
    enabled: id !== undefined,
    refetchInterval: (query) => (query.state.data && isActive(query.state.data) ? ASK_AGAIN : false),
  });

export const useTrials = () =>
  useInfiniteQuery({
    queryKey: ['trials'],
    initialPageParam: undefined as string | undefined,
    queryFn: ({ pageParam }) => data(api.GET('/api/v1/trials', { params: { query: { cursor: pageParam, limit: 10 } } })),
    getNextPageParam: (page) => page.next_cursor ?? undefined,
  });

/** Some prompt that a run was evaluated on: another one each time. */
export async function promptOf(run: string): Promise<string | null> {
  const { items } = await data(api.GET('/api/v1/runs/{run_id}/samples', { params: { path: { run_id: run }, query: { limit: 100 } } }));
  return items.length ? items[Math.floor(Math.random() * items.length)]!.prompt : null;
}

export function useTry(onMade: (trial: Trial, asked: TrialRequest) => void) {
  const client = useQueryClient();
  const attempt = useAttempt();
  return useMutation({
    mutationFn: (body: TrialRequest) => attempt(body, (header) => data(api.POST('/api/v1/trials', { params: { header }, body }))),
    onSuccess: (trial, asked) => {
      client.setQueryData(['trial', trial.id], trial);
      void client.invalidateQueries({ queryKey: ['trials'] });
      onMade(trial, asked);
    },
  });
}

export function useStop() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (id: string) => data(api.POST('/api/v1/trials/{trial_id}/cancel', { params: { path: { trial_id: id } } })),
    onSettled: (_trial, _error, id) => Promise.all([client.invalidateQueries({ queryKey: ['trial', id] }), client.invalidateQueries({ queryKey: ['trials'] })]),
  });
}
