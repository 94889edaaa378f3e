/** Configuration, files, report and history of a run. */
import { Group, SegmentedControl, Skeleton } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { IconArrowRight } from '@tabler/icons-react';
import { type ReactNode, useState } from 'react';
import { api, data, type RunDetail } from '../../api/client';
import { Copy, Failure, StateChip } from '../../components/parts';
import { bytes, moment, number, words } from '../../format';

type Values = Record<string, unknown>;
const isObject = (value: unknown): value is Values => typeof value === 'object' && value !== null && !Array.isArray(value);

function shown(value: unknown): ReactNode {
  if (value === null || value === undefined || value === '') return <span className="muted">–</span>;
  if (typeof value === 'boolean') return value ? 'yes' : 'no';
  if (typeof value === 'number') return number(value, 6);
  if (Array.isArray(value)) return value.map((one) => (isObject(one) ? JSON.stringify(one) : String(one))).join(', ') || <span className="muted">–</span>;
  return String(value);
}

/** Nested values as one list of facts: `generation · temperature`. */
function flat(values: Values, before = ''): [string, unknown][] {
  return Object.entries(values).flatMap(([key, value]) => (isObject(value) && Object.keys(value).length ? flat(value, `${before}${words(key)} · `) : [[`${before}${words(key)}`, isObject(value) ? null : value] as [string, unknown]]));
}

function Facts({ title, values }: { title: string; values: Values }) {
  return <section className="panel box"><h2>{title}</h2><dl className="facts">{flat(values).map(([key, value]) => <div key={key} style={{ display: 'contents' }}><dt>{key}</dt><dd>{shown(value)}</dd></div>)}</dl></section>;
}

function Sections({ values, rest }: { values: Values; rest: string }) {
  const own = Object.fromEntries(Object.entries(values).filter(([, value]) => !isObject(value)));
  return (
    <div className="cols">
      {Object.keys(own).length > 0 && <Facts title={rest} values={own} />}
      {Object.entries(values).filter((pair): pair is [string, Values] => isObject(pair[1])).map(([key, value]) => <Facts key={key} title={words(key)} values={value} />)}
    </div>
  );
}

export function ConfigTab({ run }: { run: RunDetail }) {
  const [view, setView] = useState('table');
  const json = JSON.stringify(run.config, null, 2);
  return (
    <>
      <Group mb={12}><SegmentedControl size="xs" value={view} onChange={setView} data={[{ value: 'table', label: 'Readable' }, { value: 'json', label: 'JSON' }]} /><Copy text={json} label="Copy JSON" /></Group>
      {view === 'json' ? <pre className="panel json" style={{ maxHeight: '70vh' }} tabIndex={0} aria-label="Configuration as JSON">{json}</pre> : <Sections values={run.config} rest="Training" />}
    </>
  );
}

export function FilesTab({ run }: { run: RunDetail }) {
  const params = { params: { path: { run_id: run.id } } };
  const checkpoints = useQuery({ queryKey: ['run', run.id, 'checkpoints', run.checkpoint_step], queryFn: () => data(api.GET('/api/v1/runs/{run_id}/checkpoints', params)) });
  const artifacts = useQuery({ queryKey: ['run', run.id, 'artifacts', run.state], queryFn: () => data(api.GET('/api/v1/runs/{run_id}/artifacts', params)) });
  return (
    <div className="cols">
      <section className="panel box" data-testid="checkpoints">
        <h2>Checkpoints</h2>
        {checkpoints.isError ? <Failure title="They cannot be listed" error={checkpoints.error} /> : !checkpoints.data ? <Skeleton height={60} /> : checkpoints.data.items.length === 0 ? <p className="muted" style={{ margin: 0, fontSize: 13 }}>None yet. The newest one is what Resume goes on from.</p> : (
          <ul className="list">{checkpoints.data.items.map((one) => <li key={one.step}><b className="num">Step {number(one.step)}</b><span className="muted num">{bytes(one.bytes)}</span><span className="muted num push">{moment(one.created_at)}</span><code style={{ flexBasis: '100%', overflowWrap: 'anywhere', fontSize: 12 }} className="muted">{one.path}</code></li>)}</ul>
        )}
      </section>
      <section className="panel box" data-testid="artifacts">
        <h2>Trained model</h2>
        {artifacts.isError ? <Failure title="It cannot be listed" error={artifacts.error} /> : !artifacts.data ? <Skeleton height={60} /> : artifacts.data.items.length === 0 ? <p className="muted" style={{ margin: 0, fontSize: 13 }}>Written when the run succeeds.</p> : (
          <>
            {artifacts.data.path && <Group gap={8} mb={6}><code className="muted" style={{ fontSize: 12, overflowWrap: 'anywhere' }}>{artifacts.data.path}</code><Copy text={artifacts.data.path} label="Copy path" /></Group>}
            <ul className="list">{artifacts.data.items.map((one) => <li key={one.name}><a href={`/api/v1/runs/${run.id}/artifacts/${encodeURIComponent(one.name)}`} download>{one.name}</a><span className="muted num push">{bytes(one.bytes)}</span></li>)}</ul>
          </>
        )}
      </section>
    </div>
  );
}

export function ReportTab({ run }: { run: RunDetail }) {
  return (
    <div style={{ display: 'grid', gap: 14 }}>
      {Object.keys(run.report).length > 0 ? <Sections values={run.report} rest="Report" /> : <section className="panel box muted" style={{ fontSize: 13 }}>The report is written while the run starts: truncation counts, dropped ties, the self-check at step 0, versions.</section>}
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
        {run.notes && <p style={{ whiteSpace: 'pre-wrap', fontSize: 13 }}>{run.notes}</p>}
      </section>
    </div>
  );
}
