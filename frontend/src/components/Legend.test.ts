import { expect, test } from 'vitest';
import { entriesOf, pressed } from './Legend';

test('a trace that has no entry is shown and hidden with the one of its group', () => {
  const data = [{ name: 'band', legendgroup: 'a', showlegend: false }, { name: 'mean', legendgroup: 'a' }, { name: 'alone' }];
  expect(entriesOf(data).map(({ key, name }) => [key, name])).toEqual([['a', 'mean'], ['alone', 'alone']]);
});

test('a press hides or shows, a second one at once shows it alone, and then all', () => {
  const keys = ['a', 'b', 'c'];
  const none = new Set<string>();
  expect([...pressed(none, 'b', keys, false)]).toEqual(['b']);
  expect([...pressed(new Set(['b']), 'b', keys, false)]).toEqual([]);
  expect([...pressed(new Set(['b']), 'b', keys, true)]).toEqual(['a', 'c']);
  expect([...pressed(new Set(['a', 'c', 'b']), 'b', keys, true)]).toEqual([]);
});
