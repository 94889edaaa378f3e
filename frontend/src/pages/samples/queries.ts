/** What the page of samples asks. */
import { keepPreviousData, useInfiniteQuery, useQuery } from '@tanstack/react-query';
import { api, data, type FigureOut } from '../../api/client';
import type { paths } from '../../api/schema';

type Query = NonNullable<paths['/api/v1/samples']['get']['parameters']['query']>;
export type Order = NonNullable<Query['sort']>;
export type Only = NonNullable<Query['only']>;
export type Histogram = paths['/api/v1/samples/figures/{name}']['get']['parameters']['path']['name'];

export interface Asked { columns: string[]; focus: number | null; sort: Order; only: Only | null }

export const useSideBySide = ({ columns, focus, sort, only }: Asked) =>
  useInfiniteQuery({
    queryKey: ['samples', columns.join(), 'rows', focus, sort, only],
    initialPageParam: undefined as string | undefined,
    queryFn: ({ pageParam }) => data(api.GET('/api/v1/samples', { params: { query: { column: columns, focus: focus ?? undefined, sort, only: only ?? undefined, cursor: pageParam, limit: 20 } } })),
    getNextPageParam: (page) => page.next_cursor ?? undefined,
    enabled: columns.length > 0,
    placeholderData: keepPreviousData,
  });

export const useHistogram = (columns: readonly string[], name: Histogram) =>
  useQuery({
    queryKey: ['samples', columns.join(), name],
    queryFn: () => data(api.GET('/api/v1/samples/figures/{name}', { params: { path: { name }, query: { column: [...columns] } } })) as Promise<FigureOut>,
    placeholderData: keepPreviousData,
  });

export function csvOf(columns: readonly string[], name: Histogram): string {
  const params = new URLSearchParams(columns.map((column) => ['column', column]));
  params.set('format', 'csv');
  return `/api/v1/samples/figures/${name}?${params.toString()}`;
}
