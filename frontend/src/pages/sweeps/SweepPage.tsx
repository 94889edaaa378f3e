/** One sweep: where it stands, what it costs, reward against beta, and its runs by what differs. */
import { ActionIcon, Button, Group, Modal, Skeleton, Text } from '@mantine/core';
import { IconChartLine, IconPencil, IconPlayerPlay, IconPlayerStop, IconPlus, IconTrash } from '@tabler/icons-react';
import { type ReactNode, useEffect, useState } from 'react';
import { Link, useNavigate, useParams } from 'react-router';
import { isGone, type Sweep } from '../../api/client';
import { useOpenedLate } from '../../api/deleting';
import { May } from '../../api/session';
import { useOpened } from '../../components/editing';
import { Offers } from '../../components/offers';
import { AlgorithmChip, Failure, StateChip } from '../../components/parts';
import { usePageTitle } from '../../components/title';
import { BeingDeleted } from '../../components/undo';
import { duration } from '../../format';
import { About, EditSweep } from './About';
import { Extend } from './Extend';
import { Members } from './Members';
import { BestLine, StateCounts, SweepProgress } from './parts';
import { type Field, readSweep, useDeleteSweep, useMembers, useSweep, useSweepAct, useSweepEvents } from './queries';
import { SweepFigure } from './SweepFigure';

const ASK: Record<'cancel' | 'delete', { title: string; text: string; label: string }> = {
  cancel: { title: 'Cancel every run that has not ended?', text: 'Runs that are being trained write a checkpoint first. The sweep can be resumed.', label: 'Cancel the runs' },
  delete: { title: 'Delete the sweep with all its runs?', text: 'Curves, samples, checkpoints and trained models go with it. For a few seconds it can be taken back.', label: 'Delete' },
};

export function SweepPage() {
  const { id = '' } = useParams();
  const navigate = useNavigate();
  const sweep = useSweep(id);
  const members = useMembers(id);
  useSweepEvents(id, [...(members.data?.items ?? []).map((one) => one.run.id), ...(sweep.data?.parents ?? []).map((one) => one.id)]);
  const { shown, pencil, edit, close } = useOpened<Sweep, Field>(id, readSweep);
  const undoable = useOpenedLate([id]);
  const [extending, setExtending] = useState<string | null>(null);
  useEffect(() => () => setExtending(null), [id]);
  usePageTitle(sweep.data?.name);
  const seen = sweep.data;
  const failure = sweep.isError && (!seen || isGone(sweep.error)) ? sweep.error : null;
  // What is being typed stands in every state of the page: by their keys React takes the forms for the same.
  const form = shown && <EditSweep key={`edit ${id}`} {...shown} onClose={close} />;
  const extend = seen && <Extend key={`extend ${id}`} sweep={seen} gone={failure} opened={extending === id} onClose={() => setExtending(null)} />;
  if (failure) return <><Failure title="This sweep cannot be shown" error={failure}><p>{form && 'What stands below stays until you leave, and can be saved no more. '}<Link to="/sweeps">All sweeps</Link></p></Failure>{form}{extend}</>;
  if (!seen) return <><div style={{ display: 'grid', gap: 16 }} aria-busy="true"><Skeleton height={36} width="40%" /><Skeleton height={62} /><Skeleton height={420} /></div>{form}</>;
  const stays = !undoable && !seen.deleting;
  return (
    <>
      <div className="head">
        <div style={{ display: 'flex', alignItems: 'center', gap: 4, minWidth: 0 }}>
          <h1 className="cut" title={seen.name} style={{ maxWidth: 'min(70vw, 640px)' }}>{seen.name}</h1>
          {stays && <May scope="launch">
            <ActionIcon ref={pencil} variant="subtle" color="gray" size="sm" aria-label="Edit name, notes and early stop" title="Edit name, notes and early stop" disabled={shown !== null} onClick={() => void edit('name')}><IconPencil size={15} /></ActionIcon>
            {!shown && <Offers group="This sweep" offers={[{ id: 'edit', label: 'Edit name, notes and early stop', act: () => void edit('name') }]} />}
          </May>}
        </div>
        <StateCounts sweep={seen} />
        <span className="sr" aria-live="polite" data-testid="sweep-state" data-active={seen.active} data-succeeded={seen.states.succeeded ?? 0}>{seen.active ? 'Active' : 'Ended'}</span>
        <Offers group="This sweep" offers={[{ id: 'compare', label: 'Compare its runs', act: () => void navigate(`/compare?sweep=${id}`) }]} />
        <div className="push" style={{ display: 'flex', gap: 8, flexWrap: 'wrap' }}><Button size="xs" variant="default" component={Link} to={`/compare?sweep=${id}`} leftSection={<IconChartLine size={14} />} data-testid="compare-button">Compare</Button>{stays && <May scope="launch"><Actions sweep={seen} onExtend={() => setExtending(id)} /></May>}</div>
      </div>
      {undoable && <BeingDeleted what={seen.name} names={[id]} />}
      {form ?? <About sweep={seen} onEdit={stays ? (focus) => void edit(focus) : undefined} />}
      {seen.note && <Failure title="Before you compare" error={seen.note} />}
      <Facts sweep={seen} />
      <SweepFigure sweep={id} />
      {members.isError && <Failure title="The runs cannot be listed" error={members.error} />}
      <Members fields={members.data?.fields ?? seen.fields} items={members.data?.items} several={seen.algorithms.length > 1} menus={stays} />
      {extend}
    </>
  );
}

function Actions({ sweep, onExtend }: { sweep: Sweep; onExtend: () => void }) {
  const navigate = useNavigate();
  const [asked, setAsked] = useState<'cancel' | 'delete' | null>(null);
  const [open, setOpen] = useState(false);
  const act = useSweepAct(sweep.id, () => setOpen(false));
  const remove = useDeleteSweep(sweep, { then: () => void navigate('/sweeps'), settled: () => setOpen(false) });
  const ask = (what: 'cancel' | 'delete'): void => { setAsked(what); setOpen(true); };
  const ended = (sweep.states.failed ?? 0) + (sweep.states.cancelled ?? 0) - sweep.stopped_early + sweep.parents.filter((one) => one.state === 'failed' || one.state === 'cancelled').length;
  const offers = [
    ...(sweep.active ? [{ id: 'cancel', label: 'Cancel', icon: IconPlayerStop, act: () => ask('cancel') }] : []),
    ...(ended > 0 ? [{ id: 'resume', label: 'Resume', icon: IconPlayerPlay, act: () => { if (!act.isPending) act.mutate('resume'); } }] : []),
    { id: 'extend', label: 'Extend', icon: IconPlus, act: onExtend },
    ...(sweep.active ? [] : [{ id: 'delete', label: 'Delete', icon: IconTrash, act: () => ask('delete') }]),
  ];
  return (
    <Group gap={8}>
      <Offers group="This sweep" offers={offers} />
      {offers.map(({ id, label, icon: Icon, act: perform }) => <Button key={id} size="xs" variant="default" leftSection={<Icon size={14} />} loading={id === 'resume' && act.isPending} data-testid={`${id}-sweep`} onClick={perform}>{label}</Button>)}
      <Modal opened={open} onClose={() => setOpen(false)} title={asked && <Text fw={600}>{ASK[asked].title}</Text>}>
        {asked && (
          <>
            <Text size="sm" c="dimmed">{ASK[asked].text}</Text>
            <Group justify="flex-end" mt="lg">
              <Button variant="default" onClick={() => setOpen(false)}>Keep</Button>
              <Button color="red.8" loading={act.isPending || remove.isPending} data-autofocus data-testid="confirm-button" onClick={() => (asked === 'delete' ? remove.mutate() : act.mutate(asked))}>{ASK[asked].label}</Button>
            </Group>
          </>
        )}
      </Modal>
    </Group>
  );
}

function Facts({ sweep }: { sweep: Sweep }) {
  const facts: [string, ReactNode][] = [
    ['Runs', <Link key="runs" to={`/runs?sweep=${sweep.id}`}>{sweep.total}</Link>],
    ['Device time', <span key="cost" title="What workers held its runs for, all attempts and shared parents included">{duration(sweep.device_seconds)}</span>],
  ];
  if (sweep.active) facts.push(['Time left', <span key="left" title={sweep.remaining.reason ?? undefined} style={sweep.remaining.seconds === null ? { fontSize: 13, fontWeight: 400 } : undefined}>{sweep.remaining.seconds === null ? `unknown: ${sweep.remaining.reason}` : duration(sweep.remaining.seconds)}</span>]);
  if (sweep.early_stop) facts.push(['Stopped early', sweep.stopped_early]);
  if (sweep.parents.length > 0) facts.push(['Shared parents', <span key="parents" style={{ display: 'flex', gap: 8, flexWrap: 'wrap', fontSize: 13, fontWeight: 400 }}>{sweep.parents.map((one) => <span key={one.id}><Link to={`/runs/${one.id}`} title={one.name}>{one.algorithm === 'sft' ? 'SFT' : 'Reward model'}</Link> <StateChip state={one.state} /></span>)}</span>]);
  return (
    <dl className="panel stats" style={{ marginTop: 0 }}>
      <div className="stat" style={{ flex: '1 1 240px', maxWidth: 400 }}><dt className="sr">Progress</dt><dd style={{ margin: 0, fontWeight: 400 }}><SweepProgress sweep={sweep} /></dd></div>
      {facts.map(([label, shown]) => <div className="stat" key={label}><dt>{label}</dt><dd>{shown}</dd></div>)}
      {sweep.best_by_algorithm.length > 0 && (
        <div className="stat" style={{ flex: '1 1 260px' }}>
          <dt title="The largest of several noisy means flatters itself">Best of {sweep.best_by_algorithm.reduce((sum, one) => sum + one.of, 0)} finished</dt>
          <dd style={{ fontSize: 13, fontWeight: 400, display: 'grid', gap: 3 }} data-testid="best">{sweep.best_by_algorithm.map((one) => <span key={one.run}>{sweep.algorithms.length > 1 && <AlgorithmChip algorithm={one.algorithm} variant={one.variant} />} <BestLine best={one} /></span>)}</dd>
        </div>
      )}
    </dl>
  );
}
