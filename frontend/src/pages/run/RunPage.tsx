/** One run: its curves as they grow, samples, log, configuration, files and history. */
import { ActionIcon, Button, Skeleton, Tabs, TextInput } from '@mantine/core';
import { notifications } from '@mantine/notifications';
import { useQuery, useQueryClient } from '@tanstack/react-query';
import { IconCopyPlus, IconPencil } from '@tabler/icons-react';
import { useEffect, useState } from 'react';
import { Link, useNavigate, useParams } from 'react-router';
import { api, data, messageOf, type RunDetail } from '../../api/client';
import { useRun } from '../../api/queries';
import { ActionButtons } from '../../components/actions';
import { Figure } from '../../components/Figure';
import { AlgorithmChip, Failure, Progress, StateChip } from '../../components/parts';
import { duration, elapsed, number, reward } from '../../format';
import { ConfigTab, FilesTab, ReportTab } from './details';
import { LogTab } from './LogTab';
import { SamplesTab } from './SamplesTab';

const TABS = [['curves', 'Curves'], ['samples', 'Samples'], ['log', 'Log'], ['config', 'Configuration'], ['files', 'Files'], ['report', 'Report and history']] as const;

export function RunPage() {
  const { id = '', tab = 'curves' } = useParams();
  const navigate = useNavigate();
  const { data: run, error, isError } = useRun(id);
  useEffect(() => { document.title = run ? `${run.name} · CoPG Studio` : 'CoPG Studio'; return () => { document.title = 'CoPG Studio'; }; }, [run?.name]);
  if (isError && !run) return <Failure title="This run cannot be shown" error={error}><p><Link to="/runs">All runs</Link></p></Failure>;
  if (!run) return <div style={{ display: 'grid', gap: 16 }} aria-busy="true"><Skeleton height={36} width="40%" /><Skeleton height={62} /><Skeleton height={420} /></div>;
  return (
    <>
      <div className="head">
        <Name key={run.id} run={run} />
        <StateChip state={run.state} testId="run-state" />
        <span className="sr" aria-live="polite">{`State: ${run.state}`}</span>
        <AlgorithmChip algorithm={run.algorithm} variant={run.variant} />
        <div className="push" style={{ display: 'flex', gap: 8, flexWrap: 'wrap' }}>
          <ActionButtons runs={[run]} then={(action) => action === 'delete' && void navigate('/runs')} />
          <Button component={Link} to={`/launch?algorithm=${run.algorithm}&from=${run.id}`} size="xs" variant="default" leftSection={<IconCopyPlus size={14} />}>Clone</Button>
        </div>
      </div>
      {run.error && (
        <Failure title={run.state === 'failed' ? 'This run failed' : 'What went wrong'} error={run.error}>
          <p style={{ marginTop: 6 }} className="muted">{advice(run)} <Link to={`/runs/${id}/log`}>Read the log</Link></p>
        </Failure>
      )}
      <Facts run={run} />
      <Tabs value={tab} onChange={(value) => void navigate(value === 'curves' ? `/runs/${id}` : `/runs/${id}/${value}`, { replace: true })} keepMounted={false}>
        <Tabs.List mb="md" style={{ flexWrap: 'nowrap', overflowX: 'auto', overflowY: 'hidden' }}>{TABS.map(([value, label]) => <Tabs.Tab key={value} value={value} data-testid={`tab-${value}`}>{label}</Tabs.Tab>)}</Tabs.List>
        <Tabs.Panel value="curves"><Curves run={run} /></Tabs.Panel>
        <Tabs.Panel value="samples"><SamplesTab run={run} /></Tabs.Panel>
        <Tabs.Panel value="log"><LogTab run={run} /></Tabs.Panel>
        <Tabs.Panel value="config"><ConfigTab run={run} /></Tabs.Panel>
        <Tabs.Panel value="files"><FilesTab run={run} /></Tabs.Panel>
        <Tabs.Panel value="report"><ReportTab run={run} /></Tabs.Panel>
      </Tabs>
    </>
  );
}

function advice(run: RunDetail): string {
  if (run.state === 'queued' || run.state === 'running') return 'It is being tried again.';
  if (run.error_kind === 'diverged') return `Resuming would go through the same steps again: clone it with other settings. ${run.checkpoint_step === null ? '' : `The checkpoint of step ${run.checkpoint_step}, from before it diverged, is kept.`}`;
  return run.checkpoint_step === null ? 'Clone it with other settings, or retry from scratch.' : `The checkpoint of step ${run.checkpoint_step} is kept: resume from there, or clone it with other settings.`;
}

function Name({ run }: { run: RunDetail }) {
  const [draft, setDraft] = useState<string | null>(null);
  const client = useQueryClient();
  const save = async (): Promise<void> => {
    const name = draft?.trim();
    setDraft(null);
    if (!name || name === run.name) return;
    try {
      client.setQueryData(['run', run.id], await data(api.PATCH('/api/v1/runs/{run_id}', { params: { path: { run_id: run.id } }, body: { name } as never })));
      void client.invalidateQueries({ queryKey: ['runs'] });
    } catch (error) {
      notifications.show({ color: 'red', title: 'The name was not changed', message: messageOf(error) });
    }
  };
  if (draft !== null)
    return <TextInput aria-label="Name of the run" autoFocus value={draft} w={340} maw="70vw" onChange={(event) => setDraft(event.currentTarget.value)} onBlur={() => void save()} onKeyDown={(event) => { if (event.key === 'Enter') void save(); if (event.key === 'Escape') setDraft(null); }} />;
  return (
    <div style={{ display: 'flex', alignItems: 'center', gap: 4, minWidth: 0 }}>
      <h1 className="cut" title={run.name} style={{ fontSize: 20, maxWidth: 'min(70vw, 640px)' }}>{run.name}</h1>
      <ActionIcon variant="subtle" color="gray" size="sm" aria-label="Rename" onClick={() => setDraft(run.name)}><IconPencil size={15} /></ActionIcon>
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
      {run.pipeline && <div className="stat"><dt>Pipeline</dt><dd style={{ fontSize: 13 }}><Link to={`/runs?pipeline=${run.pipeline}`}>All its runs</Link></dd></div>}
    </dl>
  );
}

function Curves({ run }: { run: RunDetail }) {
  const figures = useQuery({ queryKey: ['run', run.id, 'figures'], staleTime: Infinity, queryFn: async () => (await data(api.GET('/api/v1/runs/{run_id}/figures', { params: { path: { run_id: run.id } } }))).items });
  if (figures.isError) return <Failure title="The figures cannot be shown" error={figures.error} />;
  if (!figures.data) return <div className="figures"><Skeleton className="figure wide" height={424} /><Skeleton height={294} /><Skeleton height={294} /></div>;
  return <div className="figures">{figures.data.map((figure, index) => <Figure key={`${run.id}${figure.name}`} run={run.id} name={figure.name} title={figure.title} wide={index === 0} />)}</div>;
}
