/** Every quantity of the experiment under a slider and a number. Sliders are the browser's own: they know every key. */
import { memo, type ReactNode, useEffect, useId, useRef, useState } from 'react';
import type { BanditConfig } from '../../api/client';
import { algorithmName, algorithmStyle } from '../../components/parts';
import { number } from '../../format';
import { type Distribution, FLOOR, resized, type Scalar, sharesOf } from './experiment';
import { withShare } from './simplex';

const ALGORITHMS: BanditConfig['algorithms'] = ['copg', 'pg', 'pg_value', 'ipo', 'dpo', 'rloo'];
const ARMS = { min: 2, max: 10 };

interface DialProps {
  label: string; name: string; value: number; onChange(value: number): void; min: number; max: number; step?: number;
  /** The slider moves through powers of ten. */
  log?: boolean; whole?: boolean; unit?: string; grip?(by: 'slider' | 'field', held: boolean): void; wrong?: boolean; hint?: string;
} // prettier-ignore

/** Label, slider and number of one quantity. The number may leave the slider's range; the server says what is too much. */
function Dial({ label, name, value, onChange, min, max, step = 0.01, log = false, whole = false, unit, grip, wrong, hint }: DialProps) {
  const id = useId();
  const [draft, setDraft] = useState<string | null>(null);
  const near = Math.min(max, Math.max(min, value));
  const from = (text: string): number => {
    const raw = log ? 10 ** Number(text) : Number(text);
    return whole ? Math.max(1, Number(raw.toPrecision(2))) : Number(log ? raw.toPrecision(3) : text);
  };
  return (
    <div className="dial" data-wrong={wrong || undefined}>
      <label htmlFor={id} title={hint}>{label}</label>
      <input
        id={id} type="range" data-testid={`dial-${name}`} min={log ? Math.log10(min) : min} max={log ? Math.log10(max) : max} step={log ? 0.01 : step}
        value={log ? Math.log10(near) : near} aria-valuetext={`${number(value)}${unit ? ` ${unit}` : ''}`} onChange={(event) => { setDraft(null); onChange(from(event.target.value)); }}
        onPointerDown={() => grip?.('slider', true)} onPointerUp={() => grip?.('slider', false)} onPointerCancel={() => grip?.('slider', false)}
      />
      <input
        type="number" step="any" data-testid={`number-${name}`} aria-label={`${label}, as a number${unit ? ` (${unit})` : ''}`} aria-invalid={wrong || undefined} title={unit}
        value={draft ?? String(value)} onFocus={() => grip?.('field', true)} onBlur={() => { setDraft(null); grip?.('field', false); }}
        onChange={(event) => {
          setDraft(event.target.value);
          if (event.target.value !== '' && Number.isFinite(event.target.valueAsNumber)) onChange(event.target.valueAsNumber);
        }}
      />
    </div>
  ); // prettier-ignore
}

function Group({ title, note, errors, children, open = true }: { title: string; note?: string; errors: string[]; children: ReactNode; open?: boolean }) {
  return (
    <details className="dials" open={open || errors.length > 0}>
      <summary><b>{title}</b>{note && <span className="muted">{note}</span>}</summary>
      {children}
      {errors.map((error) => <p key={error} role="alert" className="wrong">{error}</p>)}
    </details>
  );
}

export interface ControlsProps {
  config: BanditConfig;
  change(config: BanditConfig): void;
  /** What the server said, by field; the empty name is the whole experiment. */
  errors: readonly { field: string; message: string }[];
}

const SCALARS: { name: Scalar; label: string; min: number; max: number; log?: boolean; whole?: boolean; step?: number; unit?: string; hint: string }[] = [
  { name: 'beta', label: 'β', min: 0.02, max: 10, log: true, unit: 'reward units per nat', hint: 'Weight of KL' },
  { name: 'learning_rate', label: 'Learning rate', min: 1e-5, max: 0.1, log: true, hint: 'Of Adam' },
  { name: 'batch_size', label: 'Batch', min: 16, max: 8192, log: true, whole: true, unit: 'pairs', hint: 'Pairs in a step' },
  { name: 'pairs', label: 'Pairs', min: 100, max: 100_000, log: true, whole: true, unit: 'pairs', hint: 'Sampled once' },
  { name: 'epochs', label: 'Epochs', min: 1, max: 500, log: true, whole: true, unit: 'passes', hint: 'Passes over the pairs' },
  { name: 'seeds', label: 'Seeds', min: 1, max: 30, whole: true, step: 1, hint: 'Independent repetitions; the band is over them' },
]; // prettier-ignore

const SHARES: { name: Distribution; title: string; note: string }[] = [
  { name: 'mu1', title: 'Sampler μ₁', note: 'first arm of a pair' },
  { name: 'mu2', title: 'Sampler μ₂', note: 'second arm of a pair' },
  { name: 'reference', title: 'Reference', note: 'start, and where KL is measured to' },
];

/** Drawn anew when the experiment changes, not with each answer. */
export const Controls = memo(function Controls({ config, change, errors }: ControlsProps) {
  // While a share is held, the others follow from where they were when it was taken: back is back.
  const held = useRef<{ by: 'slider' | 'field'; name: Distribution; shares: number[] } | null>(null);
  const latest = useRef(config);
  latest.current = config;
  useEffect(() => {
    const drop = (): void => { if (held.current?.by === 'slider') held.current = null; };
    window.addEventListener('pointerup', drop);
    return () => window.removeEventListener('pointerup', drop);
  }, []);
  const of = (...fields: string[]): string[] => errors.filter((error) => fields.some((field) => error.field === field || error.field.startsWith(`${field}.`))).map((error) => error.message);
  const move = (name: Distribution, index: number, value: number): void => {
    const shares = held.current?.name === name ? held.current.shares : sharesOf(latest.current, name);
    change({ ...latest.current, [name]: withShare(shares, index, value, FLOOR[name]) });
  };
  const toggle = (name: BanditConfig['algorithms'][number]): void => {
    const chosen = ALGORITHMS.filter((one) => (one === name) !== config.algorithms.includes(one));
    if (chosen.length) change({ ...config, algorithms: chosen });
  };
  const known = new Set(['rewards', 'mu1', 'mu2', 'reference', 'algorithms', ...SCALARS.map((one) => one.name)]);
  const whole = errors.filter((error) => !known.has(error.field.split('.')[0]!));
  const arms = config.rewards.length;
  return (
    <div className="controls panel" data-testid="controls">
      {whole.map((error) => <p key={error.message} role="alert" className="wrong" data-testid="error-whole">{error.message}</p>)}
      <fieldset className="algorithms">
        <legend className="sr">Algorithms</legend>
        {ALGORITHMS.map((name) => (
          <label key={name} style={algorithmStyle(name)} data-testid={`algorithm-${name}`}>
            <input type="checkbox" checked={config.algorithms.includes(name)} onChange={() => toggle(name)} /><i aria-hidden />{algorithmName(name)}
          </label>
        ))}
      </fieldset>
      <Group title="Training" errors={[...SCALARS.flatMap((one) => of(one.name).map((message) => `${one.label}: ${message}`)), ...of('algorithms')]}>
        {SCALARS.map(({ name, ...dial }) => (
          <Dial key={name} name={name} {...dial} wrong={of(name).length > 0} value={config[name]} onChange={(value) => change({ ...latest.current, [name]: value })} />
        ))}
      </Group>
      <Group title="Arms and rewards" errors={of('rewards')}>
        <Dial name="arms" label="Arms" min={ARMS.min} max={ARMS.max} step={1} whole value={arms} onChange={(count) => { if (Number.isInteger(count) && count >= ARMS.min && count <= ARMS.max) change(resized(latest.current, count)); }} />
        {config.rewards.map((value, index) => (
          <Dial
            key={index} name={`reward-${index + 1}`} label={`R, arm ${index + 1}`} unit="reward units" min={-1} max={4} step={0.05} value={value}
            onChange={(next) => change({ ...latest.current, rewards: latest.current.rewards.map((old, at) => (at === index ? next : old)) })}
          />
        ))}
      </Group>
      {SHARES.map(({ name, title, note }) => (
        <Group key={name} title={title} note={note} errors={of(name)} open={arms <= 4}>
          {sharesOf(config, name).map((value, index) => (
            <Dial
              key={index} name={`${name}-${index + 1}`} label={`Arm ${index + 1}`} min={0} max={1} step={0.005} value={value} onChange={(next) => move(name, index, next)}
              grip={(by, taken) => { if (taken) held.current = { by, name, shares: sharesOf(latest.current, name) }; else if (held.current?.by === by) held.current = null; }}
            />
          ))}
        </Group>
      ))}
    </div>
  ); // prettier-ignore
});
