/** Last means and paired differences of the groups, and the settings in which they differ. At 360 px each group is a card. */
import { Skeleton } from '@mantine/core';
import { Link } from 'react-router';
import type { Comparison } from '../../api/client';
import { algorithmStyle } from '../../components/parts';
import { difference, NONE, number, words } from '../../format';
import { value, withError } from '../sweeps/parts';

type Group = Comparison['groups'][number];

const chance = (p: number | null): string => (p === null ? NONE : p < 0.001 ? '< 0.001' : p.toFixed(3));

/** `expected`: how many rows there may be, so that nothing moves when they come. */
export function Differences({ seen, expected }: { seen: Comparison | undefined; expected: number }) {
  const heads = ['Group', 'Runs', 'Step', 'Mean ± s.e.', seen?.kl_title ?? 'KL, nats', 'Difference [95 %]', 'p, bootstrap', 'p, sign test', 'Better / worse'];
  return (
    <div className="scroll" tabIndex={0} role="region" aria-label="Differences to the baseline">
      <table className="samples compare" data-testid="differences">
        <thead><tr>{heads.map((head, place) => <th key={head} scope="col" className={place > 0 ? 'n' : undefined}>{head}</th>)}</tr></thead>
        <tbody>
          {!seen && Array.from({ length: expected }, (_, row) => <tr key={row}><td colSpan={heads.length}><Skeleton className="awaited" /></td></tr>)}
          {seen?.groups.map((group) => <Row key={group.id} group={group} heads={heads} baseline={group.id === seen.baseline} />)}
        </tbody>
      </table>
    </div>
  ); // prettier-ignore
}

function Row({ group, heads, baseline }: { group: Group; heads: string[]; baseline: boolean }) {
  const test = group.difference;
  const [told, interval] = test && test.mean !== null ? difference(test.mean, test.low, test.high) : [NONE, ''];
  const cells = [
    group.runs.length === 1 ? <Link key="run" to={`/runs/${group.runs[0]!.id}`} title={group.runs[0]!.name}>1</Link>
      : <span key="runs" className="seeds">{group.runs.map((run, place) => <Link key={run.id} to={`/runs/${run.id}`} title={run.name}>{run.seed === null ? place + 1 : `seed ${run.seed}`}</Link>)}</span>,
    number(group.step),
    <span key="mean" title={group.error_over ? `Standard error over ${group.error_over}` : undefined}>{withError(group.mean, group.stderr)}{group.error_over && <span className="sub">over {group.error_over}</span>}</span>,
    number(group.kl, 3),
    baseline ? <span className="muted">baseline</span> : group.untested ? <span className="muted">{group.untested}</span> : test?.mean === null || !test ? NONE : <span>{told} <span className="muted">{interval}</span><span className="sub">n = {number(test.n)} prompts{test.step === group.step ? '' : `, both at step ${number(test.step)}`}</span></span>,
    baseline || !test ? '' : chance(test.p),
    baseline || !test ? '' : chance(test.p_sign),
    baseline || !test ? '' : `${test.wins} / ${test.losses}`,
  ]; // prettier-ignore
  return (
    <tr data-group={group.id} data-best={group.is_best || undefined}>
      <th scope="row"><i className="swatch" style={algorithmStyle(group.algorithm)} aria-hidden />{group.label}{group.is_best && <span className="tag best">best</span>}</th>
      {cells.map((cell, place) => <td key={heads[place + 1]} className="n" data-label={heads[place + 1]}>{cell}</td>)}
    </tr>
  );
}

export function Settings({ seen }: { seen: Comparison }) {
  return (
    <details className="panel settings" data-testid="settings">
      <summary>What differs: {seen.fields.map((field) => field.label).join(', ')}</summary>
      <div className="scroll" tabIndex={0} role="region" aria-label="Settings that differ">
        <table className="samples">
          <thead><tr><th scope="col">Setting</th>{seen.groups.map((group) => <th key={group.id} scope="col" className="n">{group.label}</th>)}</tr></thead>
          <tbody>{seen.fields.map((field) => <tr key={field.path}><th scope="row" title={field.path}>{words(field.label)}</th>{seen.groups.map((group) => <td key={group.id} className="n">{field.path in group.settings ? value(group.settings[field.path]) : NONE}</td>)}</tr>)}</tbody>
        </table>
      </div>
    </details>
  ); // prettier-ignore
}
