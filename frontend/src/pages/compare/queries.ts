/** What the compare page asks, and how live events of its runs refresh it. */
import { keepPreviousData, useQuery, useQueryClient } from '@tanstack/react-query';
import { api, type Comparison, data, type FigureOut } from '../../api/client';
import { useRefresh } from '../../live/refresh';
import { refreshed } from '../../live/tails';

export interface Chosen { runs: string[]; sweep: string | null }
export type Measure = Comparison['measure'];
export type FigureName = Comparison['figures'][number]['name'];
export type Band = 'stderr' | 'ci95';
/** Which figure, and how it is drawn: `target` for those of a reward to reach, `smoothing` for those against the step, `band` for those that show errors, `algorithm` where each has its own. */
export interface Look { name: FigureName; measure: Measure; target: number | null; smoothing: number; band: Band; algorithm: string | null }

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

/** Curves, which only grow; the other figures have one point for each run, and every one of them moves. */
const CURVES: readonly FigureName[] = ['reward', 'best', 'frontier', 'gold'];

/** Drawn whole once; after that only how its curves go on is asked for. */
export function useCompareFigure(chosen: Chosen, { name, measure, target, smoothing, band, algorithm }: Look) {
  const client = useQueryClient();
  const queryKey = ['compare', key(chosen), name, measure, target, smoothing, band, algorithm];
  const asked = { ...query(chosen), measure, target: target ?? undefined, smoothing, band, algorithm: algorithm ?? undefined };
  return useQuery({
    queryKey,
    queryFn: () => refreshed(
      CURVES.includes(name) ? client.getQueryData<FigureOut>(queryKey) : undefined,
      (after) => data(api.GET('/api/v1/compare/figures/{name}/points', { params: { path: { name }, query: { ...asked, after } } })),
      () => data(api.GET('/api/v1/compare/figures/{name}', { params: { path: { name }, query: asked } })) as Promise<FigureOut>,
    ),
    placeholderData: keepPreviousData,
    structuralSharing: false, // comparing a hundred thousand numbers takes longer than drawing them
  });
}

export function csvOf(chosen: Chosen, { name, measure, target, smoothing, band, algorithm }: Look): string {
  const params = new URLSearchParams(chosen.sweep ? { sweep: chosen.sweep } : chosen.runs.map((run) => ['run', run]));
  params.set('measure', measure);
  params.set('format', 'csv');
  if (target !== null) params.set('target', String(target));
  if (smoothing) params.set('smoothing', String(smoothing));
  if (band !== 'stderr') params.set('band', band);
  if (algorithm) params.set('algorithm', algorithm);
  return `/api/v1/compare/figures/${name}?${params.toString()}`;
}

/** All of it as one file, with what the page has chosen. */
export function reportOf(chosen: Chosen, baseline: string | null, { measure, target, smoothing, band }: Omit<Look, 'name' | 'algorithm'>): string {
  const params = new URLSearchParams(chosen.sweep ? { sweep: chosen.sweep } : chosen.runs.map((run) => ['run', run]));
  params.set('measure', measure);
  params.set('band', band);
  if (baseline) params.set('baseline', baseline);
  if (target !== null) params.set('target', String(target));
  if (smoothing) params.set('smoothing', String(smoothing));
  return `/api/v1/compare/report?${params.toString()}`;
}

/** Everything on the page follows its runs. */
export const useCompareEvents = (chosen: Chosen, runs: readonly string[]): void => useRefresh(['compare', key(chosen)], runs);
