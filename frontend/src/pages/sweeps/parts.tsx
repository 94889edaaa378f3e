/** What the list of sweeps and one sweep's page share: its progress, its best run, a value of a field. */
import type { CSSProperties } from 'react';
import { Link } from 'react-router';
import type { SweepSummary } from '../../api/client';
import { number, placesOf, reward, words } from '../../format';

const BEGUN = ['succeeded', 'running', 'cancelling', 'failed', 'cancelled'] as const;
const ORDER = [...BEGUN, 'queued', 'waiting'] as const;

/** One bar for all runs, its parts coloured by state. */
export function SweepProgress({ sweep }: { sweep: SweepSummary }) {
  const there = BEGUN.filter((state) => (sweep.states[state] ?? 0) > 0); // what waits is the empty rest
  const percent = Math.round(sweep.progress * 100);
  return (
    <div className="progress num">
      <div className="line"><span>{percent} %</span><span className="muted cut">{sweep.steps_total === null ? `${number(sweep.steps_done)} steps` : `${number(sweep.steps_done)} / ${number(sweep.steps_total)} steps`}</span></div>
      <div className="bar states" role="progressbar" aria-label={`Progress of ${sweep.name}`} aria-valuemin={0} aria-valuemax={100} aria-valuenow={percent}>
        {there.map((state) => <i key={state} title={`${sweep.states[state]} ${words(state).toLowerCase()}`} style={{ width: `${((sweep.states[state] ?? 0) / Math.max(1, sweep.total)) * 100}%`, background: `var(--state-${state})` }} />)}
      </div>
    </div>
  );
}

export function StateCounts({ sweep }: { sweep: SweepSummary }) {
  return (
    <span className="counts">
      {sweep.deleting && <span className="chip cancelling" style={{ '--chip': 'var(--state-cancelling)' } as CSSProperties} title="It goes on by itself"><i className="dot" aria-hidden />Being deleted</span>}
      {ORDER.filter((state) => (sweep.states[state] ?? 0) > 0).map((state) => (
        <span key={state} className={`chip ${state}`} style={{ '--chip': `var(--state-${state})` } as CSSProperties}><i className="dot" aria-hidden />{sweep.states[state]} {words(state).toLowerCase()}</span>
      ))}
    </span>
  );
}

type BestRun = NonNullable<SweepSummary['best']>;
export function BestLine({ best }: { best: BestRun }) {
  return <><Link to={`/runs/${best.run}`}>{best.name}</Link> <span className="num muted">{withError(best.reward_mean, best.reward_stderr)}</span></>;
}

/** 1.23 ± 0.56, −17.1 ± 1.8: the error to two digits, and the mean no finer than the error. */
export function withError(mean: number | null | undefined, stderr: number | null | undefined): string {
  if (mean === null || mean === undefined) return '–';
  if (stderr === null || stderr === undefined || !Number.isFinite(stderr)) return reward(mean);
  const places = placesOf(stderr);
  return `${mean.toFixed(places).replace('-', '−')} ± ${stderr.toFixed(places)}`;
}

/** A value of a swept field as it stands in a cell. */
export function value(given: unknown): string {
  if (given === undefined) return '';
  if (typeof given === 'number') return number(given, 6);
  if (typeof given === 'boolean') return given ? 'on' : 'off';
  if (given === null) return 'none';
  return typeof given === 'string' ? given : JSON.stringify(given);
}

/** `optimizer.learning_rate` -> `Learning rate`; the whole path where two would look alike. */
export function titleOf(path: string, all: readonly string[]): string {
  const last = (text: string): string => text.split('.').at(-1)!;
  return all.filter((one) => last(one) === last(path)).length > 1 ? path : words(last(path));
}
