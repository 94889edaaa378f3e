/** What the compare page asks, and how live events of its runs refresh it. */
import { keepPreviousData, useQuery, useQueryClient } from '@tanstack/react-query';
import { useEffect } from 'react';
import { api, type Comparison, data, type FigureOut } from '../../api/client';
import { useLive } from '../../live/live';

export interface Chosen { runs: string[]; sweep: string | null }
export type Measure = Comparison['measure'];
export type FigureName = Comparison['figures'][number]['name'];

const PAUSE = 3_000; // between two refreshes, however many runs report
const query = ({ runs, sweep }: Chosen) => (sweep ? { sweep } : { run: runs });
const key = ({ runs, sweep }: Chosen) => sweep ?? runs.join();

export const isNothing = (chosen: Chosen): boolean => !chosen.sweep && chosen.runs.length === 0;

export const useComparison = (chosen: Chosen, measure: Measure, baseline: string | null) =>
  useQuery({
    queryKey: ['compare', key(chosen), 'table', measure, baseline],
    queryFn: () => data(api.GET('/api/v1/compare', { params: { query: { ...query(chosen), measure, baseline: baseline ?? undefined } } })),
    enabled: !isNothing(chosen),
    placeholderData: keepPreviousData,
  });

export const useCompareFigure = (chosen: Chosen, name: FigureName, measure: Measure, target: number | null) =>
  useQuery({
    queryKey: ['compare', key(chosen), name, measure, target],
    queryFn: () => data(api.GET('/api/v1/compare/figures/{name}', { params: { path: { name }, query: { ...query(chosen), measure, target: target ?? undefined } } })) as Promise<FigureOut>,
    placeholderData: keepPreviousData,
  });

export function csvOf(chosen: Chosen, name: FigureName, measure: Measure, target: number | null): string {
  const params = new URLSearchParams(chosen.sweep ? { sweep: chosen.sweep } : chosen.runs.map((run) => ['run', run]));
  params.set('measure', measure);
  params.set('format', 'csv');
  if (target !== null) params.set('target', String(target));
  return `/api/v1/compare/figures/${name}?${params.toString()}`;
}

/** Everything on the page follows its runs, at most every 3 s. */
export function useCompareEvents(chosen: Chosen, runs: readonly string[]): void {
  const client = useQueryClient();
  const { listen } = useLive();
  const group = key(chosen);
  const ids = runs.join();
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const told = (): void => { timer ??= setTimeout(() => { timer = undefined; void client.invalidateQueries({ queryKey: ['compare', group] }); }, PAUSE); };
    const stops = ids.split(',').filter(Boolean).map((run) => listen(run, told));
    return () => { clearTimeout(timer); stops.forEach((stop) => stop()); };
  }, [client, listen, group, ids]);
}
