import { expect, test } from 'vitest';
import type { BanditConfig } from '../../api/client';
import { decode, encode, resized, type View } from './experiment';

const BASE: BanditConfig = {
  rewards: [2.5, 2, 1], mu1: [0.1, 0.2, 0.7], mu2: [0.05, 0.05, 0.9], reference: null, beta: 0.5, learning_rate: 1e-3,
  batch_size: 512, pairs: 10_000, epochs: 100, seeds: 1, algorithms: ['copg', 'pg', 'pg_value', 'ipo'],
}; // prettier-ignore

const back = (view: View): View => decode(BASE, new URLSearchParams(encode(BASE, view)));

test('the base needs no address', () => {
  expect(encode(BASE, { config: BASE, scale: 'linear' })).toBe('');
  expect(decode(BASE, new URLSearchParams())).toEqual({ config: BASE, scale: 'linear' });
});

test('everything that was changed comes back from its address', () => {
  const view: View = {
    config: { ...BASE, rewards: [1, -2.25], mu1: [0.5, 0.5], mu2: [0, 1], reference: [0.001, 0.999], beta: 1e-3, seeds: 7, learning_rate: 3e-4, batch_size: 64, pairs: 900, epochs: 2, algorithms: ['rloo'] },
    scale: 'log',
  }; // prettier-ignore
  expect(back(view)).toEqual(view);
  expect(encode(BASE, { config: { ...BASE, beta: 0.06 }, scale: 'linear' })).toBe('beta=0.06');
  expect(encode(BASE, { config: { ...BASE, mu1: [0, 0.3, 0.7] }, scale: 'linear' })).toBe('mu1=0,0.3,0.7');
});

test('what is no number is left as it was', () => {
  expect(decode(BASE, new URLSearchParams('beta=&rewards=1,x,3&seeds=many&scale=cubic')).config).toEqual(BASE);
  expect(decode(BASE, new URLSearchParams('beta=-1')).config.beta).toBe(-1);
});

test('arms come and go in every list', () => {
  const ten = resized(BASE, 10);
  expect([ten.rewards.length, ten.mu1.length, ten.mu2.length, ten.reference]).toEqual([10, 10, 10, null]);
  expect(ten.rewards.at(-1)).toBe(1);
  const two = resized({ ...BASE, reference: [0.2, 0.2, 0.6] }, 2);
  expect(two.reference).toEqual([0.5, 0.5]);
});
