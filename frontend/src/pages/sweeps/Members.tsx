/** The runs of a sweep as a table whose columns are what differs. */
import { Skeleton } from '@mantine/core';
import { IconArrowDown, IconArrowUp } from '@tabler/icons-react';
import { useMemo } from 'react';
import { Link } from 'react-router';
import type { SweepMember } from '../../api/client';
import { RunMenu } from '../../components/actions';
import { useAddress } from '../../components/address';
import { algorithmStyle, Progress, StateChip } from '../../components/parts';
import { number } from '../../format';
import { parseSort } from '../runs/select';
import { titleOf, value, withError } from './parts';
import { sortMembers } from './sort';

interface Props { fields: readonly string[]; items: readonly SweepMember[] | undefined; several: boolean; menus: boolean }
export function Members({ fields, items, several, menus }: Props) {
  const [query, change] = useAddress();
  const sort = query.get('sort') ? parseSort(query.get('sort')) : { key: 'made', descending: false };
  const rows = useMemo(() => sortMembers(items ?? [], sort), [items, sort.key, sort.descending]);
  const set = (key: string): void => change({ sort: sort.key === key && !sort.descending ? `-${key}` : key });
  const head = (key: string, label: string, right = false) => (
    <th key={key} scope="col" className={right ? 'n' : undefined} aria-sort={sort.key === key ? (sort.descending ? 'descending' : 'ascending') : 'none'}>
      <button type="button" onClick={() => set(key)}>{label}{sort.key === key && (sort.descending ? <IconArrowDown size={13} /> : <IconArrowUp size={13} />)}</button>
    </th>
  );
  const shown = fields.filter((path) => path !== 'algorithm');
  return (
    <section className="panel members" tabIndex={0} aria-label="Runs of the sweep">
      <table className="samples cards" data-testid="members">
        <thead>
          <tr>
            {head('name', 'Run')}{head('state', 'State')}{head('progress', 'Progress')}
            {shown.map((path) => head(`field:${path}`, titleOf(path, shown), true))}
            {head('reward', 'Reward ± s.e.', true)}{head('kl', 'KL, nats', true)}
            <th scope="col"><span className="sr">Actions</span></th>
          </tr>
        </thead>
        <tbody>
          {!items && Array.from({ length: 5 }, (_, index) => <tr key={index}><td colSpan={shown.length + 6}><Skeleton height={26} /></td></tr>)}
          {rows.map(({ run, overrides, final, stopped_early: stopped }) => (
            <tr key={run.id} data-run-id={run.id} data-state={run.state}>
              <td className="who">
                {several && <i className="swatch" style={algorithmStyle(run.algorithm)} aria-hidden />}
                <Link className="name" to={`/runs/${run.id}`}>{run.name}</Link>
                {stopped && !stopped.resumed ? <span className="sub">{stopped.reason}</span> : run.error && <span className="sub" style={{ color: 'var(--c-danger)' }}>{run.error}</span>}
              </td>
              <td><StateChip state={run.state} /></td>
              <td style={{ minWidth: 150 }}><Progress run={run} /></td>
              {shown.map((path) => <td key={path} className="n" data-label={titleOf(path, shown)}>{value(overrides[path])}</td>)}
              <td className="n" data-label="Reward ± s.e." title={final ? `Step ${number(final.step)}, ${final.n} prompts` : undefined}>{run.state === 'succeeded' ? withError(final?.reward_mean, final?.reward_stderr) : <span className="muted">{withError(final?.reward_mean, final?.reward_stderr)}</span>}</td>
              <td className="n" data-label="KL, nats">{number(final?.kl, 3)}</td>
              <td className="menu">{menus && <RunMenu run={run} />}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}
