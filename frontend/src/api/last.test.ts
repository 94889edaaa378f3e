import { expect, test } from 'vitest';
import { lasting } from './last';

const away = new Error('The server cannot be reached.');
const pending = { data: undefined, error: null };

test('an answer stays where its question fails later, and the failure stays while it is asked again', () => {
  const last = lasting<string>();
  expect(last('a', pending)).toEqual({ answer: undefined, same: false, error: null });
  expect(last('a', { data: 'of a', error: null })).toEqual({ answer: 'of a', same: true, error: null });
  expect(last('a', { data: 'of a', error: away })).toEqual({ answer: 'of a', same: true, error: away });
  expect(last('a', { data: 'of a, anew', error: null })).toEqual({ answer: 'of a, anew', same: true, error: null });
});

test('the answer to another question is told apart from the one that failed', () => {
  const last = lasting<string>();
  last('a', { data: 'of a', error: null });
  expect(last('b', pending)).toEqual({ answer: 'of a', same: false, error: null });
  expect(last('b', { data: undefined, error: away })).toEqual({ answer: 'of a', same: false, error: away });
  expect(last('b', pending)).toEqual({ answer: 'of a', same: false, error: away });
  expect(last('c', pending)).toEqual({ answer: 'of a', same: false, error: null }); // nobody knows yet whether that one fails
  expect(last('a', { data: 'of a', error: null })).toEqual({ answer: 'of a', same: true, error: null });
});
