import { expect, test, vi } from 'vitest';
import { ticks } from './ticks';

test('one timer ticks for all who listen, and for nobody else', () => {
  vi.useFakeTimers();
  try {
    const told = [vi.fn(), vi.fn()];
    const stops = told.map((one) => ticks.subscribe(one));
    expect(vi.getTimerCount()).toBe(1);
    const before = ticks.count();
    vi.advanceTimersByTime(60_000);
    expect([ticks.count() - before, ...told.map((one) => one.mock.calls.length)]).toEqual([2, 2, 2]);
    stops.forEach((stop) => stop());
    expect(vi.getTimerCount()).toBe(0);
  } finally { vi.useRealTimers(); }
});
