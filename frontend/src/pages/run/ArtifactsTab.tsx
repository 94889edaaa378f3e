/** What a run left behind: the trained model and its export, checkpoints to keep or drop, logs. */
import { ActionIcon, Button, Group, Menu, Modal, Skeleton, Text, Tooltip } from '@mantine/core';
import { notifications } from '@mantine/notifications';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { IconChevronDown, IconDownload, IconFileZip, IconPackageExport, IconPin, IconPinnedFilled, IconTrash } from '@tabler/icons-react';
import { type ReactNode, useRef, useState } from 'react';
import { type Artifact, api, type Checkpoint, data, messageOf, type RunDetail } from '../../api/client';
import { useKept } from '../../api/deleting';
import { type Last, useLast } from '../../api/last';
import { useMay } from '../../api/session';
import { copy } from '../../components/copying';
import { Copy, Failure } from '../../components/parts';
import { passFocus, useDelete } from '../../components/undo';
import { bytes, moment, number, reward, words } from '../../format';

const API = '/api/v1';
const archive = (artifact: Artifact, format = 'zip') => `${API}/artifacts/${artifact.id}/archive?format=${format}`;
const deletedAs = (run: RunDetail, step: number): string => `${run.id}@${step}`;
const place = (run: RunDetail) => ({ params: { path: { run_id: run.id } } });

/** Where the run waits to be deleted (`stays` is not so), its files can be taken away and nothing else. */
export function ArtifactsTab({ run, stays }: { run: RunDetail; stays: boolean }) {
  const files = useQuery({ queryKey: ['run', run.id, 'artifacts', run.state, run.checkpoint_step], queryFn: () => data(api.GET('/api/v1/runs/{run_id}/artifacts', place(run))) });
  const artifacts = listed(useLast(run.id, files));
  const kept = useKept();
  const steps = useQuery({ queryKey: ['run', run.id, 'checkpoints', run.checkpoint_step], queryFn: () => data(api.GET('/api/v1/runs/{run_id}/checkpoints', place(run))) });
  const checkpoints = listed(useLast(run.id, steps));
  const shown = checkpoints.data && kept(checkpoints.data.items, (one) => [deletedAs(run, one.step)]);
  const all = artifacts.data?.artifacts ?? [];
  return (
    <div className="cols kept">
      <Panel title="Trained model" testId="artifacts" query={artifacts}>
        {artifacts.data && (artifacts.data.items.length === 0
          ? <p className="muted note">{run.state === 'succeeded' ? 'Its files are not here: they may have been removed, or stand on another machine.' : 'Written when the run succeeds.'}</p>
          : <Model run={run} path={artifacts.data.path} items={artifacts.data.items} output={all.find((one) => one.kind === 'output')} />)}
      </Panel>
      <Panel title="Checkpoints" testId="checkpoints" query={checkpoints}>
        {shown && (shown.length === 0
          ? <p className="muted note">None. While a run trains, the newest one is what Resume goes on from.</p>
          : <ul className="list">{shown.toReversed().map((one) => <CheckpointRow key={`${one.step}${one.path}`} run={run} stays={stays} one={one} artifact={all.find((other) => other.kind === 'checkpoint' && other.step === one.step)} />)}</ul>)}
      </Panel>
      {all.some((one) => one.kind === 'log' || one.kind === 'spool') && (
        <Panel title="Logs and events" query={artifacts}>
          <ul className="list">
            {all.filter((one) => one.kind === 'log' || one.kind === 'spool').map((one) => (
              <li key={one.id}>
                <a href={`${API}/artifacts/${one.id}/files/0`} download>{one.kind === 'log' ? 'Log' : `Events of attempt ${one.attempt}`}</a>
                <span className="muted num push">{bytes(one.bytes)}</span>
                <Hash sha256={one.sha256} />
              </li>
            ))}
          </ul>
        </Panel>
      )}
    </div>
  );
}

/** What is listed is of the run, whichever of its states it was asked in. */
const listed = <A,>({ answer, same, error }: Last<A>) => ({ data: same ? answer : undefined, error });

function Panel({ title, testId, query, children }: { title: string; testId?: string; query: { error: unknown; data?: unknown }; children: ReactNode }) {
  return (
    <section className="panel box" data-testid={testId} tabIndex={-1} style={{ outline: 'none' }}>
      <h2>{title}</h2>
      {query.error ? <Failure title={query.data === undefined ? 'It cannot be listed' : 'It could not be listed anew'} error={query.error} /> : query.data === undefined && <Skeleton height={60} />}
      {query.data !== undefined && children}
    </section>
  );
}

function Model({ run, path, items, output }: { run: RunDetail; path: string | null; items: { name: string; bytes: number; sha256?: string | null }[]; output?: Artifact }) {
  const lora = (run.config.lora as { enabled?: boolean } | undefined)?.enabled === true && run.algorithm !== 'reward_model';
  const exported = `${API}/runs/${run.id}/export`;
  return (
    <>
      <Group gap={8} mb={10}>
        <Button component="a" href={exported} download size="xs" leftSection={<IconPackageExport size={15} />} data-testid="export">Export with model card</Button>
        <Menu>
          <Menu.Target><Button size="xs" variant="default" rightSection={<IconChevronDown size={14} />}>Other forms</Button></Menu.Target>
          <Menu.Dropdown>
            <Menu.Item component="a" href={`${exported}?format=tar`} leftSection={<IconPackageExport size={15} />}>Export as tar</Menu.Item>
            {lora && <Menu.Item component="a" href={`${exported}?weights=adapters`} leftSection={<IconPackageExport size={15} />}>Export adapters only</Menu.Item>}
            {lora && <Menu.Item component="a" href={`${exported}?weights=merged`} leftSection={<IconPackageExport size={15} />}>Export merged weights</Menu.Item>}
            {output && <Menu.Item component="a" href={archive(output)} leftSection={<IconFileZip size={15} />}>These files as zip</Menu.Item>}
          </Menu.Dropdown>
        </Menu>
      </Group>
      <p className="muted note">{run.algorithm === 'reward_model' ? 'The export is a folder that AutoModelForSequenceClassification loads' : 'The export is a folder that transformers loads'}, with results, data, settings, and the TOML that makes it again.</p>
      <ul className="list">
        {items.map((one) => (
          <li key={one.name}>
            <a href={`${API}/runs/${run.id}/artifacts/${encodeURIComponent(one.name)}`} download className="cut" title={one.name}>{one.name}</a>
            <span className="muted num push">{bytes(one.bytes)}</span>
            {one.sha256 && <Hash sha256={one.sha256} />}
          </li>
        ))}
      </ul>
      {path && <Group gap={8} mt={8} wrap="nowrap" align="start"><code className="muted path">{path}</code><span style={{ flex: 'none' }}><Copy text={path} /></span></Group>}
    </>
  );
}

/** The first digits of a hash; all of them by a click. */
function Hash({ sha256 }: { sha256: string }) {
  return (
    <Tooltip label={`SHA-256 ${sha256}. Click to copy`} multiline maw={340} style={{ overflowWrap: 'anywhere' }}>
      <button type="button" className="hash" aria-label={`Copy SHA-256 ${sha256.slice(0, 8)}`} onClick={() => void copy(sha256, () => notifications.show({ message: 'SHA-256 copied', autoClose: 2000 }))}>{sha256.slice(0, 8)}</button>
    </Tooltip>
  );
}

function CheckpointRow({ run, stays, one, artifact }: { run: RunDetail; stays: boolean; one: Checkpoint; artifact?: Artifact }) {
  const [asking, setAsking] = useState(false);
  const row = useRef<HTMLLIElement>(null);
  const may = useMay('launch') && stays;
  const client = useQueryClient();
  const step = { params: { path: { run_id: run.id, step: one.step } } };
  const refresh = () => client.invalidateQueries({ queryKey: ['run', run.id] });
  const change = useMutation({
    mutationFn: () => api.PATCH('/api/v1/runs/{run_id}/checkpoints/{step}', { ...step, body: { pinned: !one.pinned } }),
    onError: (error) => notifications.show({ color: 'red', title: 'Nothing was changed', message: messageOf(error), autoClose: 8000 }),
    onSettled: () => void refresh(),
  });
  const remove = useDelete({
    what: `Checkpoint of step ${number(one.step)}`,
    id: deletedAs(run, one.step),
    path: `${API}/runs/${run.id}/checkpoints/${one.step}`,
    send: (rehearsed) => api.DELETE('/api/v1/runs/{run_id}/checkpoints/{step}', { params: { ...step.params, query: { dry_run: rehearsed } } }),
    forget: refresh, // what is kept is listed anew before the row would be shown again
  }, { then: () => passFocus(row.current, row.current?.closest('section')), settled: () => setAsking(false) });
  const pin = one.pinned ? 'Let go: retention may remove it' : 'Keep whatever retention says';
  return (
    <li ref={row}>
      <b className="num">Step {number(one.step)}</b>
      {one.reward !== null && <span className="num" title="Mean reward of the evaluation at this step">{reward(one.reward)}</span>}
      <span className="muted num">{bytes(one.bytes)}</span>
      <span className="push" style={{ display: 'flex', gap: 2 }}>
        {may && <Tooltip label={pin}><ActionIcon variant="subtle" color={one.pinned ? undefined : 'gray'} size="sm" aria-label={`${one.pinned ? 'Unpin' : 'Pin'} step ${one.step}`} aria-pressed={one.pinned} onClick={() => change.mutate()}>{one.pinned ? <IconPinnedFilled size={15} /> : <IconPin size={15} />}</ActionIcon></Tooltip>}
        {artifact && <Tooltip label="Download as zip"><ActionIcon component="a" href={archive(artifact)} variant="subtle" color="gray" size="sm" aria-label={`Download step ${one.step}`}><IconDownload size={15} /></ActionIcon></Tooltip>}
        {may && <Tooltip label={one.pinned ? 'Unpin it first' : 'Delete'}><ActionIcon variant="subtle" color="gray" size="sm" disabled={one.pinned} aria-label={`Delete step ${one.step}`} onClick={() => setAsking(true)}><IconTrash size={15} /></ActionIcon></Tooltip>}
      </span>
      <span className="muted num path">{moment(one.created_at)}{artifact && <> · <Hash sha256={artifact.sha256} /></>}</span>
      <Modal opened={asking && may} onClose={() => setAsking(false)} title={<Text fw={600}>Delete the checkpoint of step {number(one.step)}?</Text>}>
        <Text size="sm" c="dimmed">Frees {bytes(one.bytes)}. {one.step === run.checkpoint_step ? 'It is the newest: Resume would go on from an older one, or from the beginning. ' : ''}For a few seconds it can be taken back.</Text>
        <Group justify="flex-end" mt="lg"><Button variant="default" onClick={() => setAsking(false)}>Keep</Button><Button color="red.8" loading={remove.isPending} data-autofocus onClick={() => remove.mutate()}>Delete</Button></Group>
      </Modal>
    </li>
  );
}

export const kindName = (kind: string): string => ({ output: 'Trained models', checkpoint: 'Checkpoints', log: 'Logs', spool: 'Events' })[kind] ?? words(kind);
