import { QueryObserver } from '@tanstack/react-query';
import { expect, test } from 'vitest';
import { Answers } from '../api/cache';
import type { RunDetail, RunSummary } from '../api/client';
import { applyRun, forgetRun, goneRuns } from './live';

const run = (id: string, rev: number, state = 'running'): RunSummary => ({ id, rev, state, fence: 1, created_at: '2026-01-01T00:00:00Z' }) as unknown as RunSummary;
const soon = (): Promise<void> => new Promise((next) => setTimeout(next, 5));

test('an event that comes before the first answer is not lost', async () => {
  const client = new Answers();
  const open: ((row: RunSummary) => void)[] = [];
  const ask = (): Promise<RunSummary> => new Promise((resolve) => open.push(resolve));
  const stop = new QueryObserver(client, { queryKey: ['run', 'a'], queryFn: ask }).subscribe(() => undefined);
  applyRun(client, run('a', 2, 'succeeded'));
  open[0]!(run('a', 1)); // was written before
  await soon();
  expect(open.length).toBe(2);
  open[1]!(run('a', 2, 'succeeded'));
  await soon();
  expect(client.getQueryData<RunDetail>(['run', 'a'])!.state).toBe('succeeded');
  stop();
});

test('a deleted run leaves the list, and no late event brings it back', () => {
  const client = new Answers();
  client.setQueryData(['runs'], [run('b', 1), run('c', 1)]);
  forgetRun(client, 'b');
  applyRun(client, run('b', 2));
  expect(client.getQueryData<RunSummary[]>(['runs'])!.map((one) => one.id)).toEqual(['c']);
  expect(goneRuns.has('b')).toBe(true);
});
