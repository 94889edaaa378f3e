import { expect, test, vi } from 'vitest';
import type { FigureOut, FigurePoints } from '../api/client';
import { FigurePump, type PumpPorts } from './pump';

const whole = (cursor: string, fence = 1, empty = false): FigureOut => ({ figure: {}, cursor, fence, empty });
const more = (cursor: string, x: number[], given: Partial<FigurePoints> = {}): FigurePoints => ({ cursor, fence: 1, reset: false, traces: [{ x, y: x }], ...given });

/** A server that answers from two queues, and a log of everything that was asked and drawn. */
function server(wholes: FigureOut[], points: FigurePoints[]) {
  const log: string[] = [];
  const ports: PumpPorts = {
    whole: async () => (log.push('whole'), wholes.shift()!),
    points: async (after, fence) => (log.push(`after ${after} of ${fence}`), points.shift()!),
    draw: (figure) => void log.push(`draw ${figure.cursor}`),
    extend: (given) => void log.push(`extend ${given.cursor}`),
    failed: (error) => (log.push(`failed ${String(error)}`), true),
  };
  return { log, pump: new FigurePump(ports) };
}

test('the whole figure once, then only what came after the cursor', async () => {
  const { log, pump } = server([whole('1')], [more('2', [2]), more('3', [3])]);
  await pump.hint();
  await pump.hint();
  await pump.hint();
  expect(log).toEqual(['whole', 'draw 1', 'after 1 of 1', 'extend 2', 'after 2 of 1', 'extend 3']);
});

test('many hints while a request is open make one more request, and no point is lost', async () => {
  const { log, pump } = server([whole('1')], [more('9', [2, 3, 4])]);
  await Promise.all([pump.hint(), pump.hint(), pump.hint(), pump.hint()]);
  expect(log).toEqual(['whole', 'draw 1', 'after 1 of 1', 'extend 9']);
});

test('a resumed run is fetched whole again', async () => {
  const { log, pump } = server([whole('5'), whole('3', 2)], [more('3', [], { fence: 2, reset: true })]);
  await pump.hint();
  await pump.hint();
  expect(log).toEqual(['whole', 'draw 5', 'after 5 of 1', 'whole', 'draw 3']);
});

test('an empty figure is asked for whole until it has something to append to', async () => {
  const { log, pump } = server([whole('0', 1, true), whole('1')], []);
  await pump.hint();
  await pump.hint();
  expect(log).toEqual(['whole', 'draw 0', 'whole', 'draw 1']);
});

test('a failed request is told, and the next hint asks for the same points again', async () => {
  const { log, pump } = server([whole('1')], []);
  await pump.hint();
  await pump.hint();
  expect(log.at(-1)).toMatch(/^failed/);
  await pump.hint();
  expect(log.filter((line) => line === 'after 1 of 1')).toHaveLength(2);
});

test('after a failure it asks again by itself, although no other hint comes', async () => {
  vi.useFakeTimers();
  try {
    const points: FigurePoints[] = [];
    const { log, pump } = server([whole('1')], points);
    await pump.hint();
    await pump.hint();
    points.push(more('2', [2]));
    await vi.advanceTimersByTimeAsync(10_000);
    expect(log.slice(-2)).toEqual(['after 1 of 1', 'extend 2']);
    pump.stop();
    await vi.advanceTimersByTimeAsync(10_000);
    expect(log.filter((line) => line.startsWith('after'))).toHaveLength(2);
  } finally { vi.useRealTimers(); }
});
