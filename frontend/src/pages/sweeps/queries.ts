/** What the sweeps' pages ask, and how live events of runs refresh it. */
import { notifications } from '@mantine/notifications';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { useCallback } from 'react';
import { dropFrom } from '../../api/cache';
import { api, data, type FigureOut, isGone, messageOf, type RunSummary, type Sweep, type SweepMember, type SweepSummary } from '../../api/client';
import { useKept } from '../../api/deleting';
import { isNewer } from '../../live/merge';
import { useRefresh } from '../../live/refresh';
import type { Read } from '../../components/editing';
import { useDelete } from '../../components/undo';

const REFRESH = 5_000; // cost and remaining time change without any event
const id = (sweep: string) => ({ params: { path: { sweep_id: sweep } } });

async function allSweeps(): Promise<SweepSummary[]> {
  const items: SweepSummary[] = [];
  let cursor: string | null | undefined;
  do {
    const page = await data(api.GET('/api/v1/sweeps', { params: { query: { limit: 50, cursor: cursor ?? undefined } } }));
    items.push(...page.items);
    cursor = page.next_cursor;
  } while (cursor && items.length < 500);
  return items;
}

async function allMembers(sweep: string): Promise<{ fields: string[]; items: SweepMember[] }> {
  const items: SweepMember[] = [];
  let fields: string[] = [];
  let cursor: string | null | undefined;
  do {
    const page = await data(api.GET('/api/v1/sweeps/{sweep_id}/members', { params: { path: { sweep_id: sweep }, query: { limit: 500, cursor: cursor ?? undefined } } }));
    items.push(...page.items);
    fields = page.fields;
    cursor = page.next_cursor;
  } while (cursor);
  return { fields, items };
}

export function useSweeps() {
  const kept = useKept();
  const select = useCallback((list: SweepSummary[]) => kept(list, (one) => [one.id]), [kept]);
  return useQuery({ queryKey: ['sweeps'], queryFn: allSweeps, select, refetchInterval: (query) => (query.state.data?.some((one) => one.active || one.deleting) ? REFRESH : false) });
}
export const useSweep = (sweep: string) =>
  useQuery({ queryKey: ['sweep', sweep], queryFn: () => data(api.GET('/api/v1/sweeps/{sweep_id}', id(sweep))), refetchInterval: (query) => (!isGone(query.state.error) && (query.state.data?.active || query.state.data?.deleting) ? REFRESH : false) });
export function useMembers(sweep: string) {
  const kept = useKept();
  const select = useCallback((all: Awaited<ReturnType<typeof allMembers>>) => ({ ...all, items: kept(all.items, (one) => [one.run.id]) }), [kept]);
  return useQuery({ queryKey: ['sweep', sweep, 'members'], queryFn: () => allMembers(sweep), select });
}
export const useSweepFigure = (sweep: string) =>
  useQuery({ queryKey: ['sweep', sweep, 'figure'], queryFn: () => data(api.GET('/api/v1/figures/final_reward', { params: { query: { sweep } } })) as Promise<FigureOut> });

/** Events put each run's row in its place at once; counts, bests and the figure follow every few seconds. */
export function useSweepEvents(sweep: string, runs: readonly string[]): void {
  const client = useQueryClient();
  const putRow = useCallback((run: RunSummary | null): void => {
    if (!run) return;
    client.setQueryData<{ fields: string[]; items: SweepMember[] }>(['sweep', sweep, 'members'], (known) =>
      known && { ...known, items: known.items.map((one) => (one.run.id === run.id && isNewer(one.run, run) ? { ...one, run } : one)) });
  }, [client, sweep]);
  useRefresh(['sweep', sweep], runs, putRow);
}

export const useSweepForm = () => useQuery({ queryKey: ['sweep-form'], queryFn: () => data(api.GET('/api/v1/sweeps/form')), staleTime: Infinity });

export const FIELDS = ['name', 'notes', 'early_stop'] as const;
export type Field = (typeof FIELDS)[number];
export type Draft = Pick<Sweep, Field>;

export async function readSweep(sweep: string): Promise<Read<Sweep>> {
  const { data: row, response } = await api.GET('/api/v1/sweeps/{sweep_id}', id(sweep));
  return { row: row!, etag: response.headers.get('ETag') ?? '*' };
}

export const saveSweep = (sweep: string, body: Partial<Draft>, etag: string): Promise<Sweep> =>
  data(api.PATCH('/api/v1/sweeps/{sweep_id}', { params: { path: { sweep_id: sweep }, header: { 'If-Match': etag } }, body }));

export type SweepAction = 'cancel' | 'resume';

/** Ask something of the whole sweep; runs that were left as they are are told. */
export function useSweepAct(sweep: string, then?: () => void) {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (action: SweepAction) => data(action === 'cancel' ? api.POST('/api/v1/sweeps/{sweep_id}/cancel', id(sweep)) : api.POST('/api/v1/sweeps/{sweep_id}/resume', id(sweep))),
    onSuccess: (answer, action) => {
      client.setQueryData(['sweep', sweep], answer.sweep);
      const left = answer.skipped.map((one) => `${one.name}: ${one.reason}`).slice(0, 4).join('\n');
      notifications.show({ message: `${action === 'cancel' ? 'Cancelling' : 'Queued again'}: ${answer.changed} run${answer.changed === 1 ? '' : 's'}${left ? `\n${left}` : ''}`, style: { whiteSpace: 'pre-line' }, autoClose: left ? 10_000 : 3000 });
      void client.invalidateQueries({ queryKey: ['sweeps'] });
      void client.invalidateQueries({ queryKey: ['runs'] });
      void client.invalidateQueries({ queryKey: ['sweep', sweep, 'members'] });
      then?.();
    },
    onError: (error) => notifications.show({ color: 'red', title: 'This could not be done', message: messageOf(error), autoClose: 10_000 }),
  });
}

/** Delete a sweep, a moment later, with its runs: until then no list shows either. */
export function useDeleteSweep(sweep: Pick<Sweep, 'id' | 'name'>, then: { then: () => void; settled: () => void }) {
  const client = useQueryClient();
  return useDelete({
    what: sweep.name,
    id: sweep.id,
    path: `/api/v1/sweeps/${sweep.id}`,
    send: (rehearsed) => api.DELETE('/api/v1/sweeps/{sweep_id}', { params: { ...id(sweep.id).params, query: { dry_run: rehearsed } } }),
    forget: async () => {
      client.removeQueries({ queryKey: ['sweep', sweep.id] });
      await dropFrom<SweepSummary[]>(client, ['sweeps'], (list) => list.filter((one) => one.id !== sweep.id));
      await dropFrom<readonly RunSummary[]>(client, ['runs'], (list) => list.filter((run) => run.sweep !== sweep.id));
    },
  }, then);
}
