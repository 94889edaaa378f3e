/** Requests that make something: where the answer was lost, the same once more makes no second one. */
import { useState } from 'react';
import { ApiError } from './client';

/** A word that nobody said before. Unlike crypto.randomUUID it is there over plain http, too. */
export const once = (): string => [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, '0')).join('');

const LOST = [0, 500, 502, 504];
/** Whether nobody knows what became of a request. Any other refusal has made nothing. */
export const isLost = (error: unknown): boolean => error instanceof ApiError && LOST.includes(error.problem.status);

export type Key = { 'Idempotency-Key': string };
export type Attempt = <T>(body: unknown, send: (header: Key) => Promise<T>) => Promise<T>;

/** Sends a body under a key of its own, which it keeps until an answer comes: the body once more is the same request, unless it was answered. */
export function attempts(): Attempt {
  let [sent, key] = ['', ''];
  return async (body, send) => {
    const text = JSON.stringify(body);
    if (text !== sent) [sent, key] = [text, once()];
    try {
      const answer = await send({ 'Idempotency-Key': key });
      sent = '';
      return answer;
    } catch (error) {
      if (!isLost(error)) sent = '';
      throw error;
    }
  };
}

export const useAttempt = (): Attempt => useState(attempts)[0];

const REFUSED: Record<number, string> = { 401: 'You are not logged in', 403: 'You may not do this', 409: 'It does not go together with what is there', 422: 'These settings do not go together' };

/** What kind of failure it is, above its message. */
export function titleOf(error: unknown): string {
  const status = error instanceof ApiError ? error.problem.status : undefined;
  return status === 0 ? 'No answer came' : status !== undefined && status >= 500 ? 'The server failed' : (REFUSED[status ?? NaN] ?? 'It was refused');
}

/** What to do after an answer that was lost. */
export const AGAIN = 'It may have been done all the same: the same once more does nothing twice.';
