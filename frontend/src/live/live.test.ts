import { QueryObserver } from '@tanstack/react-query';
import { expect, test, vi } from 'vitest';
import { Answers } from '../api/cache';
import type { RunDetail, RunSummary } from '../api/client';
import { applyRun, forgetRun, goneRuns, receiver } from './live';

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

test('what was asked for before the first greeting is asked again, unless nothing has happened since', async () => {
  for (const [quiet, asked] of [[499, 2], [501, 1]] as const) {
    const client = new Answers();
    let times = 0;
    const told = vi.fn();
    const stop = new QueryObserver(client, { queryKey: ['list'], queryFn: async () => (times += 1) }).subscribe(() => undefined);
    await soon();
    const { hear } = receiver(client, new Map([['a', new Set([told])]]), () => undefined, () => 500);
    hear({ kind: 'status', connected: true, quiet });
    hear({ kind: 'status', connected: true, quiet: 0 }); // a worker that repeats itself
    await soon();
    expect([times, told.mock.calls.length]).toEqual([asked, asked - 1]);
    stop();
  }
});

test('a connection that is lost is said to be, however often it is tried again', () => {
  vi.useFakeTimers();
  try {
    const said: boolean[] = [];
    const { hear } = receiver(new Answers(), new Map(), (connected) => said.push(connected));
    for (let tries = 0; tries < 3; tries += 1) {
      hear({ kind: 'status', connected: false });
      vi.advanceTimersByTime(1000);
    }
    hear({ kind: 'status', connected: true, quiet: 0 });
    vi.advanceTimersByTime(5000);
    hear({ kind: 'status', connected: false });
    hear({ kind: 'status', connected: true, quiet: 0 }); // a moment
    vi.advanceTimersByTime(5000);
    expect(said).toEqual([false, true, true]);
  } finally { vi.useRealTimers(); }
});
