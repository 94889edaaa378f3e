import { expect, test } from 'vitest';
import type { RunSummary } from '../../api/client';
import { filterRuns, parseSort, sortRuns, tally } from './select';

const run = (id: string, given: Partial<RunSummary> = {}): RunSummary => ({ id, name: id, state: 'running', algorithm: 'copg', tags: [], pipeline: null, beta: null, last_reward: null, created_at: '2026-01-01T00:00:00Z', ...given }) as RunSummary;
const runs = [run('a', { last_reward: 1, tags: ['paper', 'tuned'] }), run('b', { last_reward: null, state: 'failed' }), run('c', { last_reward: 3, name: 'Beta sweep', algorithm: 'dpo' })];
const ids = (list: readonly RunSummary[]): string => list.map((one) => one.id).join('');
const all = { state: null, algorithm: null, pipeline: null, search: '' };

test('filters narrow together', () => {
  expect(ids(filterRuns(runs, all))).toBe('abc');
  expect(ids(filterRuns(runs, { ...all, search: ' beta ' }))).toBe('c');
  expect(ids(filterRuns(runs, { ...all, state: 'running', algorithm: 'copg' }))).toBe('a');
  expect([null, 'tuned', 'tune'].map((tag) => ids(filterRuns(runs, { ...all, tag })))).toEqual(['abc', 'a', '']);
});

test('what has no value stands last in either direction', () => {
  expect(ids(sortRuns(runs, parseSort('reward')))).toBe('acb');
  expect(ids(sortRuns(runs, parseSort('-reward')))).toBe('cab');
});

test('the newest is first where nothing is said', () => expect(parseSort(null)).toEqual({ key: 'created', descending: true }));

test('states are counted', () => expect(tally(runs)).toEqual({ running: 2, failed: 1 }));
