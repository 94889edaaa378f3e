import { expect, test } from 'vitest';
import { changed } from './address';

const after = (query: string, changes: Parameters<typeof changed>[1]): string => changed(new URLSearchParams(query), changes).toString();

test('a key is set, replaced and taken away, and the others stay', () => {
  expect(after('q=words', { state: 'failed' })).toBe('q=words&state=failed');
  expect(after('q=words&state=failed', { state: 'queued' })).toBe('q=words&state=queued');
  expect(after('q=words&state=failed', { state: null })).toBe('q=words');
  expect(after('q=words&state=failed', { q: '', state: 'queued' })).toBe('state=queued');
  expect(after('q=words', {})).toBe('q=words');
});

test('a list is the key several times, in its order, in place of what was there', () => {
  expect(after('column=a&focus=1&column=b&sort=gain', { column: ['c', 'a'], focus: null })).toBe('sort=gain&column=c&column=a');
  expect(after('column=a', { column: [] })).toBe('');
});

test('what is given is left as it was', () => {
  const query = new URLSearchParams('q=words');
  changed(query, { q: null });
  expect(query.toString()).toBe('q=words');
});
