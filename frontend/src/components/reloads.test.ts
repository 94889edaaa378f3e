import { expect, test } from 'vitest';
import { isFirstOf } from './reloads';

test('once in a minute, and never where that cannot be remembered', () => {
  const kept = new Map<string, string>();
  const store = { getItem: (name: string) => kept.get(name) ?? null, setItem: (name: string, value: string) => void kept.set(name, value) };
  expect([0, 1, 59_999, 60_000, 61_000].map((now) => isFirstOf(store, now))).toEqual([true, false, false, true, false]);
  const closed = (): never => { throw new Error('SecurityError'); };
  expect(isFirstOf({ getItem: closed, setItem: closed }, 0)).toBe(false);
});
