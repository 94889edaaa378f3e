/** Disk use: what takes up how much, what is free, and what could go. */
import { Button, Group, Modal, Skeleton, Text } from '@mantine/core';
import { notifications } from '@mantine/notifications';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { Link } from 'react-router';
import { api, data, type Freeable, messageOf, type StorageUse } from '../../api/client';
import { May } from '../../api/session';
import { Offers } from '../../components/offers';
import { Failure, StateChip } from '../../components/parts';
import { bytes, number } from '../../format';
import { kindName } from '../run/ArtifactsTab';

const FULL = 0.9;
const COLOURS = ['copg', 'dpo', 'ipo', 'reward_model', 'sft', 'policy_gradient'].map((name) => `var(--alg-${name})`); // six hues that any colour vision tells apart

export function Storage() {
  const storage = useQuery({ queryKey: ['storage'], queryFn: () => data(api.GET('/api/v1/storage')), staleTime: 30_000 });
  return (
    <section aria-labelledby="storage" data-testid="storage" style={{ marginTop: 26 }}>
      <div className="head" style={{ marginBottom: 10 }}><h2 id="storage" style={{ margin: 0, fontSize: 16 }}>Storage</h2>{storage.data && <span className="muted cut" style={{ fontSize: 13 }} title={storage.data.store}>{storage.data.local ? `in ${storage.data.store}` : `checkpoints and models in ${storage.data.store}`}</span>}</div>
      {storage.isError && <Failure title="Disk use cannot be measured" error={storage.error} />}
      {storage.data ? <Use use={storage.data} /> : !storage.isError && <Skeleton height={180} />}
    </section>
  );
}

function Use({ use }: { use: StorageUse }) {
  const parts = [...use.kinds.map((one) => ({ name: kindName(one.kind), bytes: one.bytes, count: one.count })), ...use.caches.filter((one) => one.bytes > 0).map((one) => ({ name: one.name === 'references' ? 'Cache of references' : 'Fetched artifacts', bytes: one.bytes, count: one.files }))];
  const total = parts.reduce((sum, one) => sum + one.bytes, 0);
  return (
    <div className="cols">
      <section className="panel box">
        <h3>By kind</h3>
        {total === 0 ? <p className="muted note">Nothing yet.</p> : (
          <>
            <div className="stack" role="img" aria-label={parts.map((one) => `${one.name} ${bytes(one.bytes)}`).join(', ')} style={{ marginBottom: 10, overflow: 'hidden' }}>{parts.map((one, index) => <i key={one.name} style={{ width: `${(one.bytes / total) * 100}%`, background: COLOURS[index % COLOURS.length] }} />)}</div>
            <table className="parts" style={{ fontSize: 13 }}><tbody>
              {parts.map((one, index) => <tr key={one.name}><td><i style={{ background: COLOURS[index % COLOURS.length] }} />{one.name}</td><td className="muted num">{number(one.count)}</td><td className="num">{bytes(one.bytes)}</td></tr>)}
              <tr className="sum"><td>Together</td><td /><td className="num">{bytes(total)}</td></tr>
            </tbody></table>
          </>
        )}
        {use.volumes.map((volume) => {
          const share = volume.total ? 1 - volume.free / volume.total : 0;
          return (
            <div key={volume.path} style={{ marginTop: 12, fontSize: 13 }}>
              <div style={{ display: 'flex', gap: 8 }}><span className="cut" title={volume.path}>Disk of {volume.path}</span><span className="push num" style={{ whiteSpace: 'nowrap', color: share > FULL ? 'var(--c-danger)' : undefined }}>{bytes(volume.free)} of {bytes(volume.total)} free</span></div>
              <div className="stack" style={{ height: 8, marginTop: 5, overflow: 'hidden' }} role="meter" aria-label={`Disk of ${volume.path}`} aria-valuemin={0} aria-valuemax={100} aria-valuenow={Math.round(share * 100)}><i style={{ width: `${share * 100}%`, background: share > FULL ? 'var(--c-danger)' : 'var(--c-muted)' }} /></div>
            </div>
          );
        })}
        {use.removals > 0 && <p className="muted note" style={{ marginTop: 10 }}>{number(use.removals)} deleted {use.removals === 1 ? 'place is' : 'places are'} still to be cleared.</p>}
      </section>
      <section className="panel box">
        <h3>Runs that take up most</h3>
        {use.runs.length === 0 ? <p className="muted note">None yet.</p> : (
          <ul className="list scroll" tabIndex={0} aria-label="Runs that take up most">{use.runs.map((run) => <li key={run.id}><Link to={`/runs/${run.id}/files`} className="cut" style={{ maxWidth: '45%' }} title={run.name}>{run.name}</Link><StateChip state={run.state} /><span className="num push">{bytes(run.bytes)}</span>{run.checkpoint_bytes > 0 && <span className="muted num" style={{ flexBasis: '100%', fontSize: 12 }}>of it checkpoints {bytes(run.checkpoint_bytes)}</span>}</li>)}</ul>
        )}
      </section>
      <section className="panel box">
        <h3>Free up</h3>
        <ul className="list">{use.freeable.map((one) => <FreeRow key={one.action} one={one} />)}</ul>
        {use.trouble && <p className="note" role="status" style={{ marginTop: 10, overflowWrap: 'anywhere' }}><b>What only the store knows is missing:</b> {use.trouble}</p>}
      </section>
    </div>
  );
}

function FreeRow({ one }: { one: Freeable }) {
  const [asking, setAsking] = useState(false);
  const client = useQueryClient();
  const free = useMutation({
    mutationFn: () => data(api.POST('/api/v1/storage/free', { body: { action: one.action, dry_run: false } })),
    onSuccess: (answer) => notifications.show({ message: `${bytes(answer.bytes)} freed`, autoClose: 4000 }),
    onError: (error) => notifications.show({ color: 'red', title: 'Not everything could be freed', message: messageOf(error), autoClose: 8000 }),
    onSettled: () => { setAsking(false); void client.invalidateQueries({ queryKey: ['storage'] }); },
  });
  return (
    <li>
      <span style={{ flex: '1 1 170px', minWidth: 0 }}><b style={{ fontWeight: 560 }}>{one.title}</b><span className="muted" style={{ display: 'block', fontSize: 12, lineHeight: 1.45 }}>{one.description}</span></span>
      <May scope="admin" otherwise={<span className="num">{bytes(one.bytes)}</span>}>{one.count > 0 && <Offers group="Storage" offers={[{ id: one.action, label: `${one.title}: free ${bytes(one.bytes)}`, act: () => setAsking(true) }]} />}<Button size="xs" variant="default" disabled={one.count === 0} onClick={() => setAsking(true)} data-testid={`free-${one.action}`} aria-label={`${one.title}: free ${bytes(one.bytes)}`}>{one.count === 0 ? 'Nothing' : `Free ${bytes(one.bytes)}`}</Button></May>
      <Modal opened={asking} onClose={() => setAsking(false)} title={<Text fw={600}>{one.title}</Text>}>
        <Text size="sm"><b>{bytes(one.bytes)}</b> in {number(one.count)} {one.count === 1 ? 'place' : 'places'} would be freed.</Text>
        <Text size="sm" c="dimmed" mt={6}>{one.description} This cannot be undone.</Text>
        <Group justify="flex-end" mt="lg"><Button variant="default" onClick={() => setAsking(false)}>Keep</Button><Button color="red.8" loading={free.isPending} data-autofocus data-testid="confirm-free" onClick={() => free.mutate()}>Free {bytes(one.bytes)}</Button></Group>
      </Modal>
    </li>
  );
}
