import { expect, test } from 'vitest';
import { attempts, isLost, titleOf } from './attempt';
import { ApiError } from './client';

const failure = (status: number) => new ApiError({ title: '', status, detail: 'why', errors: [] });

/** The keys of some requests, each with its body and the failure that it meets. */
async function keysOf(...requests: [body: unknown, status?: number][]): Promise<number[]> {
  const attempt = attempts();
  const keys: string[] = [];
  for (const [body, status] of requests)
    await attempt(body, async (header) => { keys.push(header['Idempotency-Key']); if (status !== undefined) throw failure(status); }).catch(() => undefined);
  return keys.map((key) => keys.indexOf(key));
}

test('what got no answer is the same request once more, until it is answered', async () => {
  expect(await keysOf([{ beta: 1 }, 0], [{ beta: 1 }, 502], [{ beta: 1 }], [{ beta: 1 }])).toEqual([0, 0, 0, 3]);
});

test('another body is another request, and so is one that was refused', async () => {
  expect(await keysOf([{ beta: 1 }, 0], [{ beta: 2 }, 0], [{ beta: 1 }, 422], [{ beta: 1 }, 409], [{ beta: 1 }])).toEqual([0, 1, 2, 3, 4]);
});

test('a failure is called what it is', () => {
  expect([0, 401, 403, 409, 410, 422, 500].map((status) => titleOf(failure(status)))).toEqual(['No answer came', 'You are not logged in', 'You may not do this', 'It does not go together with what is there', 'It was refused', 'These settings do not go together', 'The server failed']);
  expect([isLost(failure(0)), isLost(failure(504)), isLost(failure(503)), isLost(failure(422)), isLost(new Error('of the page'))]).toEqual([true, true, false, false, false]);
});
