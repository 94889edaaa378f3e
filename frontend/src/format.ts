/** How numbers, durations and sizes are written. Pure functions; `–` stands for what is not known. */

export const NONE = '–';

const minus = (text: string): string => text.replaceAll('-', '−');

/** Four significant digits, without trailing noise: 1.234, −0.06, 1.2e−6. The same in Python: copg_core/wording.py. */
export function number(value: number | null | undefined, digits = 4): string {
  if (value === null || value === undefined || Number.isNaN(value)) return NONE;
  if (value === 0) return '0';
  const size = Math.abs(value);
  if (size >= 1e6 || size < 1e-3) return minus(value.toExponential(digits - 2).replace(/\.?0+e/, 'e').replace('e+', 'e'));
  if (Number.isInteger(value)) return minus(value.toLocaleString('en-GB'));
  return minus(String(Number(value.toPrecision(digits))));
}

/** Fixed decimals, so that a column of rewards lines up. */
export function reward(value: number | null | undefined): string {
  return value === null || value === undefined ? NONE : minus(value.toFixed(3));
}

/** How many places behind the point show two digits of an error; three where there is none. */
export const placesOf = (error: number): number => (error > 0 ? Math.min(6, Math.max(0, 1 - Math.floor(Math.log10(error)))) : 3);

/** A difference and the interval behind it, no finer than that is wide. The same in Python: backend/report/words.py. */
export function difference(mean: number, low: number | null, high: number | null): [string, string] {
  const known = low !== null && high !== null;
  const places = known ? placesOf((high - low) / 2) : 3;
  const signed = (value: number): string => `${value > 0 ? '+' : value < 0 ? '−' : ''}${Math.abs(value).toFixed(places)}`;
  return [signed(mean), known ? `[${signed(low)}, ${signed(high)}]` : ''];
}

/** 8 s, 2 min 5 s, 1 h 4 min, 3 d 2 h. */
export function duration(seconds: number | null | undefined): string {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return NONE;
  const whole = Math.max(0, Math.round(seconds));
  const two = (a: number, unit: string, b: number, small: string) => (b ? `${a} ${unit} ${b} ${small}` : `${a} ${unit}`);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return two(Math.floor(whole / 60), 'min', whole % 60, 's');
  if (whole < 86_400) return two(Math.floor(whole / 3600), 'h', Math.floor((whole % 3600) / 60), 'min');
  return two(Math.floor(whole / 86_400), 'd', Math.floor((whole % 86_400) / 3600), 'h');
}

export function bytes(value: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let unit = 0;
  let size = value;
  while (size >= 1000 && unit < units.length - 1) {
    size /= 1000;
    unit += 1;
  }
  return `${unit === 0 ? size : size.toFixed(size < 10 ? 1 : 0)} ${units[unit]}`;
}

/** just now, 5 min ago, 3 h ago, 2 d ago. */
export function ago(iso: string | null | undefined, now = Date.now()): string {
  if (!iso) return NONE;
  const seconds = (now - Date.parse(iso)) / 1000;
  if (seconds < 45) return 'just now';
  if (seconds < 3600) return `${Math.max(1, Math.round(seconds / 60))} min ago`;
  if (seconds < 86_400) return `${Math.round(seconds / 3600)} h ago`;
  return `${Math.round(seconds / 86_400)} d ago`;
}

/** The moment in the reader's own time zone. */
export function moment(iso: string | null | undefined): string {
  return iso ? new Date(iso).toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'medium' }) : NONE;
}

/** Seconds between two moments; to now where the second is open. */
export function elapsed(from: string | null | undefined, to: string | null | undefined, now = Date.now()): number | null {
  return from ? ((to ? Date.parse(to) : now) - Date.parse(from)) / 1000 : null;
}

/** A measured value by what its name says it is: `needed_bytes` -> Needed, 711 MB; `saving_seconds` -> Saving, 0.19 s; shares in percent. */
export function fact(name: string, value: unknown): [string, unknown] {
  const [, about, unit] = /^(?:(.*)_)?(bytes|seconds|share)$/.exec(name) ?? [];
  const quantile = /^quantile_(\d+)$/.exec(name);
  const label = quantile ? `${Number(quantile[1])} % quantile` : words(unit === 'share' ? name : (about ?? name));
  if (typeof value !== 'number' || !Number.isFinite(value)) return [label, value];
  if (unit === 'bytes') return [label, bytes(value)];
  if (unit === 'seconds') return [label, value < 10 ? `${number(value, 2)} s` : duration(value)];
  if (unit === 'share') return [label, `${number(value * 100, 3)} %`];
  return [label, Number.isSafeInteger(value) ? value.toLocaleString('en-GB') : number(value)];
}

/** How names within names are spelt. */
const SPELT: Record<string, string> = { kl: 'KL', lora: 'LoRA', dtype: 'dtype', gpu: 'GPU', gpus: 'GPUs', dpo: 'DPO', ipo: 'IPO', sft: 'SFT', eos: 'EOS', flop: 'FLOP', sha256: 'SHA-256' };

/** `max_prompt_tokens` -> `Max prompt tokens`, `kl_stderr` -> `KL stderr`, where a schema has no title. */
export function words(name: string): string {
  const parts = name.split(/[_ ]/);
  const text = parts.map((part) => SPELT[part] ?? part).join(' ');
  return SPELT[parts[0]!] ? text : text.charAt(0).toUpperCase() + text.slice(1);
}
