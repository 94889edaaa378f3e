import { QueryObserver } from '@tanstack/react-query';
import { expect, test } from 'vitest';
import { Answers } from './cache';

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
