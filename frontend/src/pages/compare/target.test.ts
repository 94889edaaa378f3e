import { expect, test } from 'vitest';
import { finite } from './target';

test('a number is read, and nothing else is taken for one', () => {
  expect([finite('1.5'), finite('-50'), finite(0), finite('0'), finite('1e-3')]).toEqual([1.5, -50, 0, 0, 0.001]);
  for (const none of [null, '', ' ', '-', '.', 'much', 'Infinity', 'NaN']) expect(finite(none)).toBeNull();
});
