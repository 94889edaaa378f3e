/** The line of runs: who stands where and what each one waits for, and the switch that stops handing runs out. */
import { Button } from '@mantine/core';
import { IconPlayerPause, IconPlayerPlay } from '@tabler/icons-react';
import { Link } from 'react-router';
import { useQueue, useSteer } from '../../api/queries';
import { May } from '../../api/session';
import { Ago } from '../../components/Ago';
import { Offers } from '../../components/offers';
import { AlgorithmChip, Failure } from '../../components/parts';
import { duration } from '../../format';

const until = (iso: string): string => duration((Date.parse(iso) - Date.now()) / 1000);

/** Shown wherever somebody may wonder why nothing starts. */
export function PausedBanner() {
  const queue = useQueue();
  const steer = useSteer();
  if (!queue.data?.paused) return null;
  return (
    <div className="alert quiet paused">
      <IconPlayerPause size={18} aria-hidden />
      <div><strong role="status">The queue is paused</strong><p>since <Ago at={queue.data.paused_since} />, by {queue.data.paused_by}. Runs that train go on; no other starts.</p></div>
      <May scope="admin"><Offers group="Queue" offers={[{ id: 'resume', label: 'Resume the queue', act: () => { if (!steer.isPending) steer.mutate('resume'); } }]} /><Button className="push" size="xs" variant="default" leftSection={<IconPlayerPlay size={14} />} loading={steer.isPending} onClick={() => steer.mutate('resume')}>Resume</Button></May>
    </div>
  );
}

export function Queue() {
  const queue = useQueue();
  const steer = useSteer();
  const items = queue.data?.items ?? [];
  return (
    <section className="panel line-of-runs" aria-labelledby="line-title">
      <header><h2 id="line-title">Queue</h2>
        {queue.data && !queue.data.paused && <May scope="admin"><Offers group="Queue" offers={[{ id: 'pause', label: 'Pause the queue', act: () => { if (!steer.isPending) steer.mutate('pause'); } }]} /><Button className="push" size="xs" variant="default" leftSection={<IconPlayerPause size={14} />} loading={steer.isPending} onClick={() => steer.mutate('pause')}>Pause</Button></May>}
      </header>
      {queue.isError && <Failure title="The queue cannot be shown" error={queue.error} />}
      {!queue.isError && items.length === 0 && <p className="muted none">{queue.data ? 'Nothing waits.' : '…'}</p>}
      <ol>
        {items.map((item) => (
          <li key={item.id}>
            <span className="place">{item.position ?? '–'}</span>
            <div className="what"><Link className="name" to={`/${item.algorithm === 'trial' ? 'playground' : 'runs'}/${item.id}`}>{item.name}</Link> <AlgorithmChip algorithm={item.algorithm} /></div>
            <span className="why">{item.reason}{item.expected_at && Date.parse(item.expected_at) > Date.now() && <>, in about {until(item.expected_at)}</>}</span>
            <span className="asks muted">{[item.priority !== 0 && `priority ${item.priority}`, item.gpus !== null && (item.gpus === 0 ? 'processor' : `${item.gpus} GPU${item.gpus > 1 ? 's' : ''}`), item.attempt > 0 && `attempt ${item.attempt + 1}`].filter(Boolean).join(' · ')}</span>
          </li>
        ))}
      </ol>
      {queue.data && queue.data.queued + queue.data.waiting > items.length && <p className="muted none">and {queue.data.queued + queue.data.waiting - items.length} more</p>}
    </section>
  );
}
