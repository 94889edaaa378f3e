/** A figure's legend as words of the page: it wraps where the page is narrow, is as high as it must be, and each entry hides its curve. */
import { type MouseEvent, useRef } from 'react';
import type { Trace } from './plotly';

interface Entry { key: string; name: string; trace: Trace }
type Line = { color?: string; dash?: string; width?: number };
const TWICE = 500; // ms
const DASHES: Record<string, string> = { dash: '6 4', dot: '2 3', dashdot: '8 3 2 3', longdash: '12 4', longdashdot: '14 3 2 3' };

/** Traces of one key are shown and hidden together. */
export const keyOf = (trace: Trace): string => String(trace.legendgroup ?? trace.name ?? '');

export const entriesOf = (data: readonly Trace[]): Entry[] =>
  data.filter((trace) => trace.showlegend !== false).map((trace) => ({ key: keyOf(trace), name: String(trace.name ?? ''), trace }));

/** The hidden keys after an entry was pressed: it alone changes, or after a second press at once all others are hidden. */
export function pressed(hidden: ReadonlySet<string>, key: string, keys: readonly string[], twice: boolean): Set<string> {
  if (twice) {
    const others = keys.filter((one) => one !== key);
    return others.every((one) => hidden.has(one)) ? new Set() : new Set(others);
  }
  const next = new Set(hidden);
  if (!next.delete(key)) next.add(key);
  return next;
}

interface Props { entries: Entry[]; hidden: ReadonlySet<string>; onHidden(hidden: Set<string>): void }

export function Legend({ entries, hidden, onHidden }: Props) {
  const keys = entries.map((one) => one.key);
  const last = useRef({ key: '', at: 0 });
  const press = (key: string, event: MouseEvent): void => {
    // Of a key that is pressed the browser counts no clicks.
    const again = last.current.key === key && event.timeStamp - last.current.at < TWICE;
    last.current = again ? { key: '', at: 0 } : { key, at: event.timeStamp };
    onHidden(pressed(hidden, key, keys, again));
  };
  return (
    <ul className="legend" aria-label="Legend">
      {entries.map(({ key, name, trace }, place) => (
        <li key={`${key} ${place}`}>
          <button type="button" aria-pressed={!hidden.has(key)} title="Press to hide or show, twice to show it alone" onClick={(event) => press(key, event)}>
            <Swatch trace={trace} />{name}
          </button>
        </li>
      ))}
    </ul>
  ); // prettier-ignore
}

function Swatch({ trace }: { trace: Trace }) {
  const line = (trace.line ?? {}) as Line;
  const marker = (trace.marker ?? {}) as { color?: string; size?: number; symbol?: string };
  const open = marker.symbol?.endsWith('-open');
  const mode = typeof trace.mode === 'string' ? trace.mode : 'lines';
  return (
    <svg width="38" height="12" aria-hidden>
      {mode.includes('lines') && <line x1="0" x2="38" y1="6" y2="6" stroke={line.color} strokeWidth={line.width ?? 2} strokeDasharray={DASHES[line.dash ?? '']} />}
      {mode.includes('markers') && <circle cx="19" cy="6" r={Math.min(5, (marker.size ?? 6) / 2)} fill={open ? 'none' : marker.color} stroke={open ? marker.color : undefined} />}
    </svg>
  );
}
