/** Is everything well: database, broker, workers and what they have. */
import { Skeleton } from '@mantine/core';
import { useHealth, useWorkers } from '../../api/queries';
import { Failure } from '../../components/parts';
import { ago, duration } from '../../format';

export function SystemPage() {
  const health = useHealth();
  const workers = useWorkers();
  return (
    <>
      <div className="head"><h1>System</h1><span className="muted" style={{ fontSize: 13 }}>{health.data && `CoPG Studio ${health.data.version}`} · <a href="/docs">API documentation</a></span></div>
      {health.isError && <Failure title="The server does not answer" error={health.error} />}
      {health.data?.detail && <Failure title="Not everything is well" error={health.data.detail} />}
      <dl className="panel stats" style={{ marginTop: 0 }}>
        {[
          ['Database', health.data?.database], ['Broker', health.data?.broker], ['Workers', health.data?.workers],
          ['Running', workers.data?.running], ['Queued', workers.data?.queued], ['Waiting', workers.data?.waiting],
        ].map(([label, value]) => (
          <div className="stat" key={label}><dt>{label}</dt><dd style={{ color: value === 'down' ? 'var(--c-danger)' : value === 'ok' ? 'var(--c-good)' : undefined }}>{value ?? <Skeleton height={18} width={36} />}</dd></div>
        ))}
      </dl>
      <div className="cols">
        {workers.data?.items.map((worker) => (
          <section className="panel box" key={worker.name}>
            <h2 style={{ display: 'flex', gap: 8, alignItems: 'center' }}><i className={`dot ${worker.alive ? 'on' : 'off'}`} role="img" aria-label={worker.alive ? 'Alive' : 'Silent'} />{worker.name}</h2>
            <dl className="facts">
              <dt>Host</dt><dd>{worker.host}, process {worker.pid}</dd>
              <dt>Slots</dt><dd>{worker.busy} of {worker.slots} busy, queue {worker.queue}</dd>
              <dt>Devices</dt><dd>{worker.devices.map((device) => String(device.name ?? device.kind ?? JSON.stringify(device))).join(', ') || 'CPU'}</dd>
              <dt>Last sign of life</dt><dd>{duration(worker.seen_seconds_ago)} ago, started {ago(worker.started_at)}</dd>
              <dt>Version</dt><dd>{worker.version}</dd>
            </dl>
          </section>
        ))}
        {workers.data?.items.length === 0 && <section className="panel box"><h2>No worker</h2><p className="muted" style={{ margin: 0, fontSize: 13 }}>Nothing is trained until one is there: <code>copg up</code> starts one by itself, <code>celery -A worker.app worker</code> adds another.</p></section>}
      </div>
    </>
  );
}
