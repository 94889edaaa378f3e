import { expect, test } from 'vitest';
import { changes, listed, withTheirs } from './edits';

const FIELDS = ['name', 'notes', 'tags'] as const;
const base = { name: 'a', notes: 'first', tags: ['x'] };

test('only what differs is sent', () => {
  expect(changes(FIELDS, base, { ...base, tags: ['x'] })).toEqual({});
  expect(changes(FIELDS, base, { ...base, notes: '', tags: [] })).toEqual({ notes: '', tags: [] });
});

test('taking theirs keeps what was typed where they changed nothing', () => {
  const typed = { name: 'mine', notes: 'mine', tags: ['x'] };
  expect(withTheirs(FIELDS, base, typed, { ...base, notes: 'theirs' })).toEqual({ name: 'mine', notes: 'theirs', tags: ['x'] });
});

test('names stand in a sentence', () => expect([[], ['a'], ['a', 'b', 'c']].map(listed)).toEqual(['', 'a', 'a, b and c']));
