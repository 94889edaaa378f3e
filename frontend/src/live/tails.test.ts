import { expect, test } from 'vitest';
import type { FigureOut, FigureTails } from '../api/client';
import { refreshed } from './tails';

const figure = (cursor: string, ...y: number[]): FigureOut => ({ figure: { data: [{ name: 'a', x: y.map((_, at) => at), y }], layout: {} }, cursor, fence: 0, empty: y.length === 0 }) as unknown as FigureOut;
const tail = (cursor: string, start: number, x: number[], y: number[]): FigureTails => ({ cursor, reset: false, traces: [{ start, arrays: { x, y } }] });
const never = (): never => { throw new Error('not to be asked'); };

test('a held figure grows by its new ends, its last point replaced', async () => {
  const ends = async (after: string): Promise<FigureTails> => { expect(after).toBe('one'); return tail('two', 1, [1, 2], [5, 6]); };
  expect(await refreshed(figure('one', 4, 9), ends, never)).toEqual(figure('two', 4, 5, 6));
});

test('nothing new leaves the same object, so that nothing is drawn again', async () => {
  const held = figure('one', 4);
  expect(await refreshed(held, async () => tail('one', 0, [0], [4]), never)).toBe(held);
});

test('a last point that changed is taken, although the cursor is the same', async () => {
  expect(await refreshed(figure('one', 4, 9), async () => tail('one', 1, [1], [7]), never)).toEqual(figure('one', 4, 7));
});

test('what is not held, is empty or has changed otherwise is fetched whole', async () => {
  const whole = async (): Promise<FigureOut> => figure('new', 1);
  expect(await refreshed(undefined, never, whole)).toEqual(figure('new', 1));
  expect(await refreshed(figure('one'), never, whole)).toEqual(figure('new', 1));
  expect(await refreshed(figure('one', 4), async () => ({ cursor: 'new', reset: true, traces: [] }), whole)).toEqual(figure('new', 1));
});
