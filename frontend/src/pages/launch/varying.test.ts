import { describe, expect, it } from 'vitest';
import type { Field } from '../../components/form/schema';
import { choices, problemsOf, sharedConfig, sweepRequest, type Varied } from './varying';

const base = { description: '', nullable: false };
const FIELDS: Field[] = [
  { ...base, kind: 'const', name: 'algorithm', title: 'Algorithm' },
  { ...base, kind: 'number', name: 'beta', title: 'Beta' },
  { ...base, kind: 'object', name: 'optimizer', title: 'Optimizer', fields: [{ ...base, kind: 'number', name: 'learning_rate', title: 'Rate' }] },
  { ...base, kind: 'union', name: 'policy', title: 'Model', tag: 'kind', options: [
    { value: 'preset', title: '', description: '', initial: {}, fields: [{ ...base, kind: 'enum', name: 'size', title: 'Size', values: ['nano'] }] },
    { value: 'hub', title: '', description: '', initial: {}, fields: [{ ...base, kind: 'text', name: 'id', title: 'Hub id' }] },
  ] },
  { ...base, kind: 'json', name: 'rest', title: 'Rest' },
]; // prettier-ignore

describe('fields that may vary', () => {
  it('are the leaves of the form as it is filled in', () => {
    const found = choices(FIELDS, { policy: { kind: 'hub' } });
    expect(found.map((one) => one.value)).toEqual(['beta', 'optimizer.learning_rate', 'policy.id']);
    expect(found.map((one) => one.group)).toEqual(['Training', 'Optimizer', 'Model']);
  });
});

describe('the request', () => {
  const config = { algorithm: 'copg', beta: 0.06, steps: 10, group: 'all_pairs' };
  const varied: Varied[] = [{ path: 'beta', text: '0.1, 1', of: { dpo: '1, 2' } }, { path: 'seed', text: '0..2', of: {} }, { path: '', text: 'x', of: {} }];
  it('is a configuration and a grid of texts', () => {
    expect(sweepRequest({ config, others: [], varied, name: ' a ', earlyStop: true, schedule: { gpus: 2, priority: 5 } })).toEqual({ name: 'a', early_stop: {}, gpus: 2, priority: 5, config, grid: { beta: '0.1, 1', seed: '0..2' } });
  });
  it('has a base for each algorithm, with its own betas and without settings that it does not have', () => {
    const others = [{ algorithm: 'dpo', defaults: { algorithm: 'dpo', beta: 0.1, steps: null } }];
    expect(sweepRequest({ config, others, varied, name: '', earlyStop: false, schedule: {} })).toEqual({
      grid: { seed: '0..2' },
      bases: [{ config, grid: { beta: '0.1, 1' } }, { config: { algorithm: 'dpo', beta: 0.1, steps: 10 }, grid: { beta: '1, 2' } }],
    });
    expect(sharedConfig({ a: 1, b: 2 }, { b: 3, c: 4 })).toEqual({ b: 2, c: 4 });
  });
});

describe('problems', () => {
  it('stand at the values that they are about, or in the form', () => {
    const { rows, rest } = problemsOf([
      { field: 'grid.seed.1', message: 'one' }, { field: 'grid.seed.2', message: 'two' }, { field: 'bases.1.grid.beta.0', message: 'config.beta: three' },
      { field: 'bases.0.config.steps', message: 'four' }, { field: 'config.reward', message: 'five' }, { field: 'grid.optimizer.learning_rate', message: 'six' },
    ]); // prettier-ignore
    expect([...rows]).toEqual([['seed', 'one two'], ['beta.1', 'three'], ['optimizer.learning_rate', 'six']]);
    expect(rest).toEqual([{ field: 'config.steps', message: 'four' }, { field: 'config.reward', message: 'five' }]);
  });
});
