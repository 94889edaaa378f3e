import { QueryObserver } from '@tanstack/react-query';
import { expect, test, vi } from 'vitest';
import { Answers, dropFrom, soon } from './cache';

/** A list behind an API that answers when it is told to, with what it held when it was asked. */
function slow(): { ask: () => Promise<number>; asked: () => number; answer: () => Promise<void>; hold: (value: number) => void } {
  let value = 0;
  let asked = 0;
  const open: (() => void)[] = [];
  return {
    ask: () => { asked += 1; const now = value; return new Promise((resolve) => open.push(() => resolve(now))); },
    asked: () => asked,
    answer: async () => { open.splice(0).forEach((one) => one()); await new Promise((next) => setTimeout(next, 5)); },
    hold: (next) => { value = next; },
  };
}

test('a first answer that is under way when something changes is asked for again', async () => {
  const client = new Answers();
  const list = slow();
  const stop = new QueryObserver(client, { queryKey: ['list'], queryFn: list.ask }).subscribe(() => undefined);
  list.hold(1);
  void client.invalidateQueries({ queryKey: ['list'] });
  void client.invalidateQueries({ queryKey: ['list'] });
  await list.answer();
  expect(client.getQueryData(['list'])).toBe(0);
  expect(list.asked()).toBe(2);
  await list.answer();
  expect(client.getQueryData(['list'])).toBe(1);
  expect(list.asked()).toBe(2);
  stop();
});

test('a first answer that nobody looks at any more is stale for whoever looks next', async () => {
  const client = new Answers({ defaultOptions: { queries: { staleTime: 60_000 } } });
  const list = slow();
  new QueryObserver(client, { queryKey: ['list'], queryFn: list.ask }).subscribe(() => undefined)();
  list.hold(1);
  void client.invalidateQueries();
  await list.answer();
  const stop = new QueryObserver(client, { queryKey: ['list'], queryFn: list.ask }).subscribe(() => undefined);
  await list.answer();
  expect(client.getQueryData(['list'])).toBe(1);
  stop();
});

test('what was deleted does not come back by an answer from before', async () => {
  const client = new Answers();
  const answers: (() => void)[] = [];
  let rows = ['a', 'b'];
  const ask = (): Promise<string[]> => { const now = rows; return new Promise((resolve) => answers.push(() => resolve(now))); };
  const seen: (string[] | undefined)[] = [];
  const observer = new QueryObserver(client, { queryKey: ['list'], queryFn: ask, initialData: rows });
  const stop = observer.subscribe((result) => seen.push(result.data));
  expect(answers.length).toBe(1); // asked for before the deletion
  rows = ['b'];
  await dropFrom<string[]>(client, ['list'], (list) => list.filter((one) => one !== 'a'));
  expect(client.getQueryData(['list'])).toEqual(['b']);
  seen.length = 0;
  answers.forEach((answer) => answer());
  await new Promise((next) => setTimeout(next, 5));
  expect(answers.length).toBe(2);
  expect(seen.every((list) => list?.length === 1)).toBe(true);
  stop();
});

test('nor by the first answer', async () => {
  const client = new Answers();
  const list = slow();
  const seen: unknown[] = [];
  const stop = new QueryObserver(client, { queryKey: ['list'], queryFn: list.ask }).subscribe((result) => seen.push(result.data));
  list.hold(1);
  await dropFrom<number>(client, ['list'], (known) => known);
  await list.answer();
  expect(client.getQueryData(['list'])).toBe(1);
  expect(list.asked()).toBe(2);
  expect(seen).not.toContain(0);
  stop();
});

test('what changes often is asked for again every few seconds, and its parts where that is meant', async () => {
  vi.useFakeTimers();
  try {
    const client = new Answers();
    const stale = (): string[] => client.getQueryCache().getAll().filter((one) => one.state.isInvalidated).map((one) => one.queryKey.join());
    const fresh = (): void => { client.setQueryData(['sweep', 'a'], 1); client.setQueryData(['sweep', 'a', 'members'], 1); };
    fresh();
    for (let times = 0; times < 5; times += 1) {
      soon(client, ['sweep', 'a'], { exact: true });
      await vi.advanceTimersByTimeAsync(500);
    }
    expect(stale()).toEqual([]);
    await vi.advanceTimersByTimeAsync(500);
    expect(stale()).toEqual(['sweep,a']);
    fresh();
    soon(client, ['sweep', 'a'], { exact: true });
    soon(client, ['sweep', 'a']); // the one does not swallow the other
    await vi.advanceTimersByTimeAsync(3000);
    expect(stale()).toEqual(['sweep,a', 'sweep,a,members']);
  } finally { vi.useRealTimers(); }
});
