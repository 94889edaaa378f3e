/** From the form to a sweep's request: which fields may vary, and what is sent. Pure; values stay text, which the server reads. */
import type { Field } from '../../components/form/schema';
import { words } from '../../format';
import type { Asked as Schedule } from './Scheduling';

export interface Varied { path: string; text: string; /** Beta has other sensible values in each algorithm. */ of: Record<string, string> }
export interface Choice { value: string; label: string; group: string }
type Values = Record<string, unknown>;

/** Every field of the form that holds one number, word or switch, by its dotted path, as the form is filled in now. */
export function choices(fields: readonly Field[], values: Values, path: readonly string[] = [], group = 'Training'): Choice[] {
  return fields.flatMap((field): Choice[] => {
    const here = [...path, field.name];
    const inner = (typeof values[field.name] === 'object' && values[field.name] !== null ? values[field.name] : {}) as Values;
    switch (field.kind) {
      case 'object': return choices(field.fields, inner, here, path.length ? `${group}: ${field.title}` : field.title);
      case 'union': return choices(field.options.find((one) => one.value === inner[field.tag])?.fields ?? [], inner, here, field.title);
      case 'number': case 'integer': case 'enum': case 'boolean': case 'text': return [{ value: here.join('.'), label: field.title || words(field.name), group }];
      default: return [];
    }
  });
}

/** The form's settings for another algorithm: what both have is the form's, beta and what is its own stay that algorithm's. */
export function sharedConfig(config: Values, defaults: Values): Values {
  const shared = Object.entries(config).filter(([key]) => key in defaults && key !== 'algorithm' && key !== 'beta');
  return { ...defaults, ...Object.fromEntries(shared) };
}

export interface Asked { config: Values; others: readonly { algorithm: string; defaults: Values }[]; varied: readonly Varied[]; name: string; earlyStop: boolean; /** What each run asks of the queue. */ schedule: Schedule }

/** What is posted. With further algorithms each is a base of its own, with its own betas where they were given. */
export function sweepRequest({ config, others, varied, name, earlyStop, schedule }: Asked): Values {
  const rows = varied.filter((one) => one.path);
  const common = { ...(name.trim() ? { name: name.trim() } : {}), ...(earlyStop ? { early_stop: {} } : {}), ...schedule };
  if (others.length === 0) return { ...common, config, grid: Object.fromEntries(rows.map((one) => [one.path, one.text])) };
  const own = (algorithm: string): Values => Object.fromEntries(rows.filter((one) => one.path === 'beta').map((one) => [one.path, one.of[algorithm] ?? one.text]));
  return {
    ...common,
    grid: Object.fromEntries(rows.filter((one) => one.path !== 'beta').map((one) => [one.path, one.text])),
    bases: [
      { config, grid: own(String(config.algorithm)) },
      ...others.map((one) => ({ config: sharedConfig(config, one.defaults), grid: own(one.algorithm) })),
    ],
  };
}

/** The server's problems sorted: those of a varied field by its path, the others as problems of the form. */
export function problemsOf(errors: readonly { field: string; message: string }[]): { rows: Map<string, string>; rest: { field: string; message: string }[] } {
  const rows = new Map<string, string>();
  const rest: { field: string; message: string }[] = [];
  for (const { field, message } of errors) {
    const inner = field.replace(/^bases\.\d+\./, '');
    const base = /^bases\.(\d+)\./.exec(field)?.[1] ?? '';
    if (inner.startsWith('grid.')) {
      const path = inner.slice(5).replace(/\.\d+$/, '');
      const key = path === 'beta' && base ? `beta.${base}` : path;
      rows.set(key, [rows.get(key), message.replace(`config.${path}: `, '')].filter(Boolean).join(' '));
    } else rest.push({ field: inner, message });
  }
  return { rows, rest };
}
