/** One run: its curves as they grow, samples, log, configuration, files and history. */
import { ActionIcon, Button, Skeleton, Tabs } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { IconCopyPlus, IconPencil } from '@tabler/icons-react';
import { type RefObject, useEffect, useState } from 'react';
import { Link, useNavigate, useParams } from 'react-router';
import { api, data, isGone, type RunDetail } from '../../api/client';
import { useDeleting, useOpenedLate } from '../../api/deleting';
import { useRun } from '../../api/queries';
import { May } from '../../api/session';
import { ActionButtons } from '../../components/actions';
import { useOpened } from '../../components/editing';
import { Figure } from '../../components/Figure';
import { Offers } from '../../components/offers';
import { AlgorithmChip, Failure, Progress, StateChip } from '../../components/parts';
import { usePageTitle } from '../../components/title';
import { BeingDeleted } from '../../components/undo';
import { duration, elapsed, number, reward } from '../../format';
import { About, EditRun } from './About';
import { ArtifactsTab } from './ArtifactsTab';
import { ConfigTab, ReportTab } from './details';
import { type Field, readRun } from './edit';
import { LogTab } from './LogTab';
import { SamplesTab } from './SamplesTab';

const TABS = [['curves', 'Curves'], ['samples', 'Samples'], ['log', 'Log'], ['config', 'Configuration'], ['files', 'Artifacts'], ['report', 'Report and history']] as const;

export function RunPage() {
  const { id = '', tab: asked } = useParams();
  const tab = TABS.find(([value]) => value === asked)?.[0] ?? 'curves'; // an address with a slip in it is no empty page
  const navigate = useNavigate();
  const { data: run, error, isError } = useRun(id);
  const { shown, pencil, edit, close } = useOpened<RunDetail, Field>(id, readRun);
  const late = useOpenedLate([id, run?.sweep ?? id]);
  const deleting = useDeleting();
  usePageTitle(run?.name);
  // What is being typed stands in every state of the page: by its key React takes the form for the same.
  const form = shown && <EditRun key={id} {...shown} onClose={close} />;
  if (isError && (!run || isGone(error))) return <><Failure title="This run cannot be shown" error={error}><p>{form && 'What stands below stays until you leave, and can be saved no more. '}<Link to="/runs">All runs</Link></p></Failure>{form}</>;
  if (!run) return <><div style={{ display: 'grid', gap: 16 }} aria-busy="true"><Skeleton height={36} width="40%" /><Skeleton height={62} /><Skeleton height={420} /></div>{form}</>;
  const stays = !late;
  const cloned = `/launch?algorithm=${run.algorithm}&from=${run.id}`;
  return (
    <>
      <div className="head">
        <Name run={run} pencil={pencil} editing={shown !== null} onEdit={stays ? () => void edit('name') : undefined} />
        <StateChip state={run.state} testId="run-state" />
        <span className="sr" aria-live="polite">{`State: ${run.state}`}</span>
        <AlgorithmChip algorithm={run.algorithm} variant={run.variant} />
        {stays && <div className="push" style={{ display: 'flex', gap: 8, flexWrap: 'wrap' }}>
          <ActionButtons runs={[run]} group="This run" then={(action) => action === 'delete' && void navigate('/runs')} />
          <May scope="launch">
            <Offers group="This run" offers={[{ id: 'clone', label: 'Clone', act: () => void navigate(cloned) }, ...(shown ? [] : [{ id: 'edit', label: 'Edit name, notes and tags', act: () => void edit('name') }])]} />
            <Button component={Link} to={cloned} size="xs" variant="default" leftSection={<IconCopyPlus size={14} />}>Clone</Button>
          </May>
        </div>}
      </div>
      {!stays && <BeingDeleted what={deleting.has(id) ? run.name : 'the sweep of this run'} names={[id, run.sweep ?? id]} />}
      {form ?? <About run={run} onEdit={stays ? (focus) => void edit(focus) : undefined} />}
      {run.error && (
        <Failure title={run.state === 'failed' ? 'This run failed' : 'What went wrong'} error={run.error}>
          <p style={{ marginTop: 6 }} className="muted">{advice(run)} <Link to={`/runs/${id}/log`}>Read the log</Link></p>
        </Failure>
      )}
      {run.stopped_early && <StoppedEarly run={run} />}
      <Facts run={run} />
      <Tabs value={tab} onChange={(value) => void navigate(value === 'curves' ? `/runs/${id}` : `/runs/${id}/${value}`, { replace: true })} keepMounted={false}>
        <Tabs.List mb="md" style={{ flexWrap: 'nowrap', overflowX: 'auto', overflowY: 'hidden' }}>{TABS.map(([value, label]) => <Tabs.Tab key={value} value={value} data-testid={`tab-${value}`}>{label}</Tabs.Tab>)}</Tabs.List>
        <Tabs.Panel value="curves"><Curves run={run} /></Tabs.Panel>
        <Tabs.Panel value="samples"><SamplesTab key={id} run={run} /></Tabs.Panel>
        <Tabs.Panel value="log"><LogTab key={id} run={run} /></Tabs.Panel>
        <Tabs.Panel value="config"><ConfigTab run={run} /></Tabs.Panel>
        <Tabs.Panel value="files"><ArtifactsTab run={run} stays={stays} /></Tabs.Panel>
        <Tabs.Panel value="report"><ReportTab run={run} /></Tabs.Panel>
      </Tabs>
    </>
  );
}

function StoppedEarly({ run }: { run: RunDetail }) {
  const told = run.stopped_early!;
  return (
    <div className="alert quiet" role="note" data-testid="stopped-early">
      <strong>{told.resumed ? 'It was stopped early once, and is left alone since it was resumed' : 'Its sweep stopped it early'}</strong>
      <p>{told.reason.charAt(0).toUpperCase() + told.reason.slice(1)}. {told.evidence.rival && <Link to={`/runs/${told.evidence.rival}`}>The run it was compared with</Link>}</p>
    </div>
  );
}

function advice(run: RunDetail): string {
  if (run.state === 'queued' || run.state === 'running') return 'It is being tried again.';
  if (run.error_kind === 'diverged') return `Resuming would go through the same steps again: clone it with other settings. ${run.checkpoint_step === null ? '' : `The checkpoint of step ${run.checkpoint_step}, from before it diverged, is kept.`}`;
  return run.checkpoint_step === null ? 'Clone it with other settings, or retry from scratch.' : `The checkpoint of step ${run.checkpoint_step} is kept: resume from there, or clone it with other settings.`;
}

function Name({ run, pencil, editing, onEdit }: { run: RunDetail; pencil: RefObject<HTMLButtonElement | null>; editing: boolean; onEdit?: () => void }) {
  return (
    <div style={{ display: 'flex', alignItems: 'center', gap: 4, minWidth: 0 }}>
      <h1 className="cut" title={run.name} style={{ fontSize: 20, maxWidth: 'min(70vw, 640px)' }}>{run.name}</h1>
      {onEdit && <May scope="launch"><ActionIcon ref={pencil} variant="subtle" color="gray" size="sm" aria-label="Edit name, notes and tags" title="Edit name, notes and tags" disabled={editing} onClick={onEdit}><IconPencil size={15} /></ActionIcon></May>}
    </div>
  );
}

function Facts({ run }: { run: RunDetail }) {
  const [now, setNow] = useState(Date.now);
  const ticking = run.state === 'running' || run.state === 'cancelling';
  useEffect(() => {
    if (!ticking) return;
    const timer = setInterval(() => setNow(Date.now()), 1000);
    return () => clearInterval(timer);
  }, [ticking]);
  const family = (list: RunDetail['parent_runs']) => list.map((one, index) => <span key={`${one.role}${one.id}`}>{index > 0 && ', '}<Link to={`/runs/${one.id}`} title={`${one.role}, ${one.state}`}>{one.name}</Link></span>);
  return (
    <dl className="panel stats" style={{ marginTop: 0 }}>
      <div className="stat" style={{ flex: '1 1 220px', maxWidth: 340 }}><dt className="sr">Progress</dt><dd style={{ margin: 0, fontWeight: 400 }}><Progress run={run} /></dd></div>
      <div className="stat"><dt>Last reward</dt><dd>{reward(run.last_reward)}</dd></div>
      {run.beta !== null && <div className="stat"><dt>Beta</dt><dd>{number(run.beta)}</dd></div>}
      <div className="stat"><dt>Duration</dt><dd>{duration(elapsed(run.started_at, run.finished_at, now))}</dd></div>
      <div className="stat"><dt>Attempt</dt><dd>{run.attempt || '–'}</dd></div>
      {run.parent_runs.length > 0 && <div className="stat"><dt>From</dt><dd style={{ fontSize: 13 }}>{family(run.parent_runs)}</dd></div>}
      {run.children.length > 0 && <div className="stat"><dt>Used by</dt><dd style={{ fontSize: 13 }}>{family(run.children.slice(0, 3))}{run.children.length > 3 && ` and ${run.children.length - 3} more`}</dd></div>}
      {run.sweep && <div className="stat"><dt>Sweep</dt><dd style={{ fontSize: 13 }}><Link to={`/sweeps/${run.sweep}`}>All its runs</Link></dd></div>}
      {(run.data_sets ?? []).length > 0 && <div className="stat"><dt>Data</dt><dd style={{ fontSize: 13 }}>{run.data_sets!.map((one, index) => <span key={one.role}>{index > 0 && ', '}<Link to={`/data/${one.id}`} title={`${one.role}, sha256 ${one.sha256}`}>{one.name}</Link>{one.deleted && <span className="muted"> (deleted, sha256 {one.sha256?.slice(0, 12)}…)</span>}</span>)}</dd></div>}
      {run.pipeline && <div className="stat"><dt>Pipeline</dt><dd style={{ fontSize: 13 }}><Link to={`/runs?pipeline=${run.pipeline}`}>All its runs</Link></dd></div>}
    </dl>
  );
}

/** Of a run that never began there is nothing to draw: one sentence, and no wall of empty figures. */
function Curves({ run }: { run: RunDetail }) {
  const began = run.step > 0 || (run.total_steps ?? 0) > 0 || run.state === 'running' || run.state === 'cancelling';
  return began ? <Begun run={run} /> : <section className="panel box muted" style={{ padding: '40px 24px', textAlign: 'center', fontSize: 13 }} data-testid="no-curves">{run.state === 'queued' || run.state === 'waiting' ? 'The curves begin with the first point.' : 'It ended before its first point: there is nothing to draw.'}</section>;
}

function Begun({ run }: { run: RunDetail }) {
  const figures = useQuery({ queryKey: ['run', run.id, 'figures'], staleTime: Infinity, queryFn: async () => (await data(api.GET('/api/v1/runs/{run_id}/figures', { params: { path: { run_id: run.id } } }))).items });
  if (!figures.data && figures.isError) return <Failure title="The figures cannot be shown" error={figures.error} />;
  if (!figures.data) return <div className="figures"><Skeleton className="figure wide" height={424} /><Skeleton height={294} /><Skeleton height={294} /></div>;
  return <div className="figures">{figures.data.map((figure, index) => <Figure key={`${run.id}${figure.name}`} run={run.id} name={figure.name} title={figure.title} wide={index === 0} />)}</div>;
}
