/** What people change of a run, and how it is read and saved. */
import { api, type RunDetail } from '../../api/client';
import type { Read } from '../../components/editing';

export const FIELDS = ['name', 'notes', 'tags'] as const;
export type Field = (typeof FIELDS)[number];
export type Draft = Pick<RunDetail, Field>;

/** Live events renew parts of the cached run but not its ETag: ask before editing. */
export async function readRun(id: string): Promise<Read<RunDetail>> {
  const { data, response } = await api.GET('/api/v1/runs/{run_id}', { params: { path: { run_id: id } } });
  return { row: data!, etag: response.headers.get('ETag') ?? '*' };
}

export async function saveRun(id: string, body: Partial<Draft>, etag: string): Promise<RunDetail> {
  return (await api.PATCH('/api/v1/runs/{run_id}', { params: { path: { run_id: id }, header: { 'If-Match': etag } }, body })).data!;
}
