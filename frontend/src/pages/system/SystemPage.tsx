/** Is everything well: database, broker, workers, what they have and what it did. */
import { Skeleton } from '@mantine/core';
import { Link } from 'react-router';
import { useHealth, useWorkers } from '../../api/queries';
import { May } from '../../api/session';
import { Failure } from '../../components/parts';
import { usePageTitle } from '../../components/title';
import { Gpus } from './Gpus';
import { PausedBanner, Queue } from './Queue';
import { Storage } from './Storage';
import { Worker } from './Worker';

export function SystemPage() {
  usePageTitle('System');
  const health = useHealth();
  const workers = useWorkers();
  return (
    <>
      <div className="head"><h1>System</h1><span className="muted" style={{ fontSize: 13 }}>{health.data && `CoPG Studio ${health.data.version}`} · <a href="/docs">API documentation</a><May scope="admin"> · <Link to="/access">Tokens and webhooks</Link></May></span></div>
      {health.isError && <Failure title="The server does not answer" error={health.error} />}
      {health.data?.detail && <Failure title="Not everything is well" error={health.data.detail} />}
      <PausedBanner />
      <dl className="panel stats" style={{ marginTop: 0 }}>
        {[
          ['Database', health.data?.database], ['Broker', health.data?.broker], ['Workers', health.data?.workers],
          ['Running', workers.data?.running], ['Queued', workers.data?.queued], ['Waiting', workers.data?.waiting],
        ].map(([label, value]) => (
          <div className="stat" key={label}><dt>{label}</dt><dd style={{ color: value === 'down' ? 'var(--c-danger)' : value === 'ok' ? 'var(--c-good)' : undefined }}>{value ?? <Skeleton height={21} width={36} />}</dd></div>
        ))}
      </dl>
      <Queue />
      {workers.data && <Gpus workers={workers.data} />}
      <div className="cols" key={workers.data ? 'workers' : 'awaited'}>
        {!workers.data && !workers.isError && <Skeleton height={208} />}
        {workers.data?.items.map((worker) => (
          <Worker key={worker.name} worker={worker} />
        ))}
        {workers.data?.items.length === 0 && <section className="panel box"><h2>No worker</h2><p className="muted" style={{ margin: 0, fontSize: 13 }}>Nothing is trained until one is there: <code>copg up</code> starts one by itself, <code>celery -A worker.app worker</code> adds another.</p></section>}
      </div>
      {/* Below what may push it down. */}
      {(workers.data || workers.isError) && <Storage />}
    </>
  );
}
