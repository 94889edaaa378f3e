import { describe, expect, it } from 'vitest';
import type { SweepMember } from '../../api/client';
import { titleOf, withError } from './parts';
import { sortMembers } from './sort';

const member = (name: string, overrides: Record<string, unknown>, mean: number | null = null): SweepMember =>
  ({ run: { name, state: 'queued', step: 0, total_steps: null }, overrides, final: mean === null ? null : { reward_mean: mean } }) as unknown as SweepMember;

const names = (found: SweepMember[]): string[] => found.map((one) => one.run.name);

describe('members', () => {
  const all = [member('a', { beta: 1 }, 2), member('b', { beta: 0.1 }), member('c', { beta: 'auto' }, 3), member('d', {}, 1)];
  it('are sorted by a field as numbers, what has none last', () => {
    expect(names(sortMembers(all, { key: 'field:beta', descending: false }))).toEqual(['b', 'a', 'c', 'd']);
  });
  it('are sorted by reward, what is not measured last in both directions', () => {
    expect(names(sortMembers(all, { key: 'reward', descending: true }))).toEqual(['c', 'a', 'd', 'b']);
    expect(names(sortMembers(all, { key: 'reward', descending: false }))).toEqual(['d', 'a', 'c', 'b']);
  });
  it('stay as they are for an unknown column', () => {
    expect(names(sortMembers(all, { key: 'made', descending: true }))).toEqual(['a', 'b', 'c', 'd']);
  });
});

describe('cells', () => {
  it('show the error to two digits', () => {
    expect(withError(1.23456, 0.03456)).toBe('1.235 ± 0.035');
    expect(withError(-17.0812, 1.787)).toBe('−17.1 ± 1.8');
    expect(withError(1, 0)).toBe('1.000 ± 0.000');
    expect(withError(1, null)).toBe('1.000');
    expect(withError(null, 1)).toBe('–');
  });
  it('name a field shortly unless two would look alike', () => {
    expect(titleOf('optimizer.learning_rate', ['optimizer.learning_rate'])).toBe('Learning rate');
    expect(titleOf('a.size', ['a.size', 'b.size'])).toBe('a.size');
  });
});
