/** An experiment and how it stands in the address: only what differs from the base (the paper's) is written. */
import type { BanditConfig } from '../../api/client';
import { uniform, withArms } from './simplex';

export type Scale = 'linear' | 'log';
export interface View { config: BanditConfig; scale: Scale }
export type Distribution = 'mu1' | 'mu2' | 'reference';
export type Scalar = 'beta' | 'learning_rate' | 'batch_size' | 'pairs' | 'epochs' | 'seeds';

/** A reference with a zero would make KL infinite. */
export const FLOOR = { mu1: 0, mu2: 0, reference: 0.001 } as const;
const LISTS = ['rewards', 'mu1', 'mu2', 'reference'] as const;
const SCALARS: Scalar[] = ['beta', 'learning_rate', 'batch_size', 'pairs', 'epochs', 'seeds'];

export function encode(base: BanditConfig, view: View): string {
  const query = new URLSearchParams();
  for (const name of LISTS) {
    const text = (view.config[name] ?? []).join(',');
    if (text !== (base[name] ?? []).join(',')) query.set(name, text);
  }
  for (const name of SCALARS) if (view.config[name] !== base[name]) query.set(name, String(view.config[name]));
  if (view.config.algorithms.join() !== base.algorithms.join()) query.set('algorithms', view.config.algorithms.join(','));
  if (view.scale !== 'linear') query.set('scale', view.scale);
  return query.toString().replaceAll('%2C', ',');
}

/** What is no number is left as the base has it; whether the rest makes sense is the server's to say. */
export function decode(base: BanditConfig, query: URLSearchParams): View {
  const config: BanditConfig = { ...base };
  const number = (text: string): number => (text.trim() === '' ? NaN : Number(text));
  for (const name of LISTS) {
    const values = query.get(name)?.split(',').map(number);
    if (values?.every(Number.isFinite)) config[name] = values;
  }
  for (const name of SCALARS) {
    const value = number(query.get(name) ?? '');
    if (Number.isFinite(value)) config[name] = value;
  }
  const algorithms = query.get('algorithms');
  if (algorithms) config.algorithms = algorithms.split(',') as BanditConfig['algorithms'];
  return { config, scale: query.get('scale') === 'log' ? 'log' : 'linear' };
}

/** The shares under the sliders; no reference means the uniform one. */
export const sharesOf = (config: BanditConfig, name: Distribution): number[] => config[name] ?? uniform(config.rewards.length);

/** The experiment with another number of arms; a new arm has the lowest reward so far. */
export function resized(config: BanditConfig, arms: number): BanditConfig {
  const rewards = config.rewards.slice(0, arms);
  while (rewards.length < arms) rewards.push(Math.min(...config.rewards));
  return {
    ...config, rewards, mu1: withArms(config.mu1, arms, FLOOR.mu1), mu2: withArms(config.mu2, arms, FLOOR.mu2),
    reference: config.reference ? withArms(config.reference, arms, FLOOR.reference) : null,
  }; // prettier-ignore
}

/** What is asked for while a slider moves: fewer points and seeds. The figure says how many seeds it shows. */
export const LIVE = { points: 120, seeds: 3 } as const;
export const REST = { points: 400 } as const;
