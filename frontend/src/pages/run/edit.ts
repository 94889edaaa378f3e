/** Editing a run while others may edit it too: pure functions of what was read, what was typed and what others wrote. */
import { api, type RunDetail } from '../../api/client';

export const FIELDS = ['name', 'notes', 'tags'] as const;
export type Field = (typeof FIELDS)[number];
export type Draft = Pick<RunDetail, Field>;
/** A run and the ETag that came with it. Live events renew parts of the cached run but not its ETag: ask before editing. */
export interface Read { run: RunDetail; etag: string }

export async function readRun(id: string): Promise<Read> {
  const { data, response } = await api.GET('/api/v1/runs/{run_id}', { params: { path: { run_id: id } } });
  return { run: data!, etag: response.headers.get('ETag') ?? '*' };
}

export async function saveRun(id: string, body: Partial<Draft>, etag: string): Promise<RunDetail> {
  return (await api.PATCH('/api/v1/runs/{run_id}', { params: { path: { run_id: id }, header: { 'If-Match': etag } }, body })).data!;
}

/** The fields that differ, with their new values. */
export function changes(before: Draft, after: Draft): Partial<Draft> {
  const changed = FIELDS.filter((field) => JSON.stringify(before[field]) !== JSON.stringify(after[field]));
  return Object.fromEntries(changed.map((field) => [field, after[field]]));
}

/** What was typed, with the others' values where they changed something since it was read. */
export function withTheirs(base: Draft, draft: Draft, theirs: Draft): Draft {
  return { name: draft.name, notes: draft.notes, tags: draft.tags, ...changes(base, theirs) };
}

/** `name, notes and tags` */
export function listed(names: readonly string[]): string {
  return names.length > 1 ? `${names.slice(0, -1).join(', ')} and ${names.at(-1)}` : (names[0] ?? '');
}
