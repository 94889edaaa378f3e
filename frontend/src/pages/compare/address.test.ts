import { expect, test } from 'vitest';
import { finite, smoothingOf } from './address';

test('a number is read, and nothing else is taken for one', () => {
  expect([finite('1.5'), finite('-50'), finite(0), finite('0'), finite('1e-3')]).toEqual([1.5, -50, 0, 0, 0.001]);
  for (const none of [null, '', ' ', '-', '.', 'much', 'Infinity', 'NaN']) expect(finite(none)).toBeNull();
});

test('smoothing is what the API takes, also beyond the slider', () => {
  expect([null, '', 'much', '-3', '0', '25', '60', '100', '400'].map(smoothingOf)).toEqual([0, 0, 0, 0, 0, 25, 60, 100, 100]);
});
