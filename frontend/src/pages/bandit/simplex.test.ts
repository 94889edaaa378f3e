import { expect, test } from 'vitest';
import { rounded, uniform, withArms, withShare } from './simplex';

const sum = (shares: number[]): number => shares.reduce((total, share) => total + share, 0);

test('the others keep their proportions, and the sum stays one', () => {
  expect(withShare([0.1, 0.2, 0.7], 2, 0.4)).toEqual([0.2, 0.4, 0.4]);
  for (const value of [0, 0.001, 0.3333, 0.77777, 1]) {
    const moved = withShare([0.05, 0.05, 0.9], 0, value);
    expect(sum(moved)).toBeCloseTo(1, 10);
    expect(moved[0]).toBeCloseTo(value, 3);
  }
});

test('what is zero stays zero, unless nothing else could take the rest', () => {
  expect(withShare([0, 0.4, 0.6], 1, 0.2)).toEqual([0, 0.2, 0.8]);
  expect(withShare([1, 0, 0], 0, 0.5)).toEqual([0.5, 0.25, 0.25]);
});

test('a drag to the end and back, computed from its start, changes nothing', () => {
  const start = [0.1, 0.2, 0.7];
  expect(withShare(start, 0, 1)).toEqual([1, 0, 0]);
  expect(withShare(start, 0, 0.1)).toEqual(start);
});

test('with a floor no share falls below it', () => {
  const moved = withShare([0.2, 0.3, 0.5], 2, 1, 0.001);
  expect(Math.min(...moved)).toBe(0.001);
  expect(moved[2]).toBeCloseTo(0.998, 3);
  expect(sum(moved)).toBeCloseTo(1, 10);
  expect(Math.min(...withShare([0.001, 0.001, 0.998], 0, 0, 0.001))).toBe(0.001);
});

test('rounding leaves a sum of exactly one', () => {
  expect(uniform(3)).toEqual([0.3334, 0.3333, 0.3333]);
  expect(sum(rounded([1, 1, 1, 1, 1, 1, 1]))).toBeCloseTo(1, 12);
});

test('arms come with an even share and leave theirs to the others', () => {
  expect(withArms([0.5, 0.5], 3)).toEqual([0.3334, 0.3333, 0.3333]);
  expect(withArms([0.1, 0.1, 0.8], 2)).toEqual([0.5, 0.5]);
  expect(withArms([0, 0, 1], 2)).toEqual([0.5, 0.5]);
  expect(withArms([0.1, 0.2, 0.7], 10)).toHaveLength(10);
  expect(sum(withArms([0.1, 0.2, 0.7], 10))).toBeCloseTo(1, 10);
});
