import { expect, test } from 'vitest';
import type { RunSummary } from '../api/client';
import { mergeRun, removeRun, withLive } from './merge';

const run = (id: string, rev: number, created = '2026-01-01T00:00:00Z'): RunSummary => ({ id, rev, created_at: created }) as RunSummary;

test('a newer event replaces, an older one changes nothing', () => {
  const list = [run('a', 3)];
  expect(mergeRun(list, run('a', 4))[0]!.rev).toBe(4);
  expect(mergeRun(list, run('a', 2))).toBe(list);
});

test('a new run goes where its creation puts it, newest first', () => {
  const list = [run('new', 1, '2026-03-01T00:00:00Z'), run('old', 1, '2026-01-01T00:00:00Z')];
  expect(mergeRun(list, run('between', 1, '2026-02-01T00:00:00Z')).map((one) => one.id)).toEqual(['new', 'between', 'old']);
  expect(mergeRun(list, run('oldest', 1, '2025-01-01T00:00:00Z')).at(-1)!.id).toBe('oldest');
});

test('a deleted run leaves, an unknown one changes nothing', () => {
  const list = [run('a', 1)];
  expect(removeRun(list, 'a')).toEqual([]);
  expect(removeRun(list, 'b')).toBe(list);
});

test('what events told while a list was fetched is not lost, and what was deleted does not come back', () => {
  const fetched = [run('b', 2, '2026-02-01T00:00:00Z'), run('a', 2)];
  const known = [run('newest, deleted', 9, '2026-04-01T00:00:00Z'), run('made since', 1, '2026-03-01T00:00:00Z'), run('b', 1, '2026-02-01T00:00:00Z'), run('a', 3), run('deleted', 9)];
  const before = new Set(['newest, deleted', 'b', 'a', 'deleted']);
  expect(withLive(fetched, known, before).map((one) => [one.id, one.rev])).toEqual([['made since', 1], ['b', 2], ['a', 3]]);
  expect(withLive([...fetched, run('told gone', 1)], known, before, new Set(['told gone', 'made since'])).map((one) => one.id)).toEqual(['b', 'a']);
  expect(withLive([], [run('a', 1)], new Set(['a']))).toEqual([]);
  expect(withLive([], [run('first', 1)]).length).toBe(1);
  expect(withLive(fetched)).toEqual(fetched);
});
