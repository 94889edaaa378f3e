/** Configuration, report and history of a run. */
import { Group, SegmentedControl } from '@mantine/core';
import { IconArrowRight } from '@tabler/icons-react';
import { type ReactNode, useState } from 'react';
import { type RunDetail } from '../../api/client';
import { Copy, StateChip } from '../../components/parts';
import { fact, moment, number, words } from '../../format';

type Values = Record<string, unknown>;
const isObject = (value: unknown): value is Values => typeof value === 'object' && value !== null && !Array.isArray(value);

function shown(value: unknown): ReactNode {
  if (value === null || value === undefined || value === '') return <span className="muted">–</span>;
  if (typeof value === 'boolean') return value ? 'yes' : 'no';
  if (typeof value === 'number') return Number.isSafeInteger(value) ? value.toLocaleString('en-GB') : number(value, 6);
  if (Array.isArray(value)) return value.map((one) => (isObject(one) ? JSON.stringify(one) : String(one))).join(', ') || <span className="muted">–</span>;
  return String(value);
}

/** Nested values as one list of facts: `generation · temperature`. */
function flat(values: Values, told: Told, before = ''): [string, unknown][] {
  return Object.entries(values).flatMap(([key, value]): [string, unknown][] => {
    if (isObject(value) && Object.keys(value).length) return flat(value, told, `${before}${words(key)} · `);
    const [label, shown] = told(key, isObject(value) ? null : value);
    return [[`${before}${label}`, shown]];
  });
}

/** How a value is told: a setting as it was set, a measured one in its unit. */
type Told = (name: string, value: unknown) => [string, unknown];
const asSet: Told = (name, value) => [words(name), value];

function Facts({ title, values, told }: { title: string; values: Values; told: Told }) {
  return <section className="panel box"><h2>{title}</h2><dl className="facts">{flat(values, told).map(([key, value]) => <div key={key} style={{ display: 'contents' }}><dt>{key}</dt><dd>{shown(value)}</dd></div>)}</dl></section>;
}

function Sections({ values, rest, told }: { values: Values; rest: string; told: Told }) {
  const own = Object.fromEntries(Object.entries(values).filter(([, value]) => !isObject(value)));
  return (
    <div className="cols">
      {Object.keys(own).length > 0 && <Facts title={rest} values={own} told={told} />}
      {Object.entries(values).filter((pair): pair is [string, Values] => isObject(pair[1])).map(([key, value]) => <Facts key={key} title={words(key)} values={value} told={told} />)}
    </div>
  );
}

export function ConfigTab({ run }: { run: RunDetail }) {
  const [view, setView] = useState('table');
  const json = JSON.stringify(run.config, null, 2);
  return (
    <>
      <Group mb={12}><SegmentedControl size="xs" value={view} onChange={setView} data={[{ value: 'table', label: 'Readable' }, { value: 'json', label: 'JSON' }]} /><Copy text={json} label="Copy JSON" /></Group>
      {view === 'json' ? <pre className="panel json" style={{ maxHeight: '70vh' }} tabIndex={0} aria-label="Configuration as JSON">{json}</pre> : <Sections values={run.config} rest="Training" told={asSet} />}
    </>
  );
}

export function ReportTab({ run }: { run: RunDetail }) {
  return (
    <div style={{ display: 'grid', gap: 14 }}>
      {Object.keys(run.report).length > 0 ? <Sections values={run.report} rest="Report" told={fact} /> : <section className="panel box muted" style={{ fontSize: 13 }}>The report is written while the run starts: truncation counts, dropped ties, the self-check at step 0, versions.</section>}
      <section className="panel box">
        <h2>History</h2>
        <ul className="list" aria-label="Moves of the state">
          {run.events.map((event, index) => (
            <li key={index}>
              <span className="muted num" style={{ width: 190 }}>{moment(event.at)}</span>
              {event.origin && <><StateChip state={event.origin} /><IconArrowRight size={14} aria-label="to" /></>}
              <StateChip state={event.target} />
              <span style={{ flex: '1 1 160px' }}>{event.reason}</span><span className="muted">{event.actor}</span>
            </li>
          ))}
        </ul>
      </section>
    </div>
  );
}
