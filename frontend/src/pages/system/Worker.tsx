/** One worker: its GPUs with their memory and use, what trains on them, and its way out. */
import { Button } from '@mantine/core';
import { Link } from 'react-router';
import { useSteer } from '../../api/queries';
import type { components } from '../../api/schema';
import { May } from '../../api/session';
import { Ago } from '../../components/Ago';
import { Offers } from '../../components/offers';
import { bytes, duration } from '../../format';

type WorkerOut = components['schemas']['WorkerOut'];
type GpuOut = components['schemas']['GpuOut'];

function Gpu({ gpu }: { gpu: GpuOut }) {
  const share = gpu.memory_total && gpu.memory_used !== null ? (100 * gpu.memory_used) / gpu.memory_total : 0;
  return (
    <li className="gpu">
      <div className="line"><span><b>{gpu.index}</b> {gpu.name}</span><span className="muted">{gpu.utilisation !== null && `${gpu.utilisation} %`}</span></div>
      <div className="bar" role="img" aria-label={`${Math.round(share)} % of its memory is used`}><i style={{ width: `${share}%` }} /></div>
      <div className="line muted"><span>{gpu.run ? <Link to={`/${gpu.algorithm === 'trial' ? 'playground' : 'runs'}/${gpu.run}`}>{gpu.run_name}</Link> : 'free'}</span><span>{gpu.memory_total !== null && `${bytes(gpu.memory_used ?? 0)} of ${bytes(gpu.memory_total)}`}</span></div>
    </li>
  );
}

export function Worker({ worker }: { worker: WorkerOut }) {
  const steer = useSteer();
  const leave = (): void => {
    if (window.confirm(`Ask ${worker.name} to leave? Its runs write a checkpoint and go back to the queue. Where copg up started it, a fresh worker takes its place: pause the queue first if nothing is to start there.`)) steer.mutate({ drain: worker.name });
  };
  const processor = worker.devices.find((device) => device.kind === 'cpu');
  return (
    <section className="panel box worker">
      <h2><i className={`dot ${worker.alive ? 'on' : 'off'}`} role="img" aria-label={worker.alive ? 'Alive' : 'Silent'} /><span>{worker.name}</span>
        {worker.alive && (worker.draining ? <span className="muted leaving">is leaving</span> : <May scope="admin"><Offers group="Workers" offers={[{ id: worker.name, label: `Drain ${worker.name}`, act: leave }]} /><Button className="push" size="compact-xs" variant="subtle" color="gray" loading={steer.isPending} onClick={leave} aria-label={`Drain ${worker.name}`}>Drain</Button></May>)}
      </h2>
      {worker.gpus.length > 0 && <ul className="gpus">{worker.gpus.map((gpu) => <Gpu key={gpu.uuid} gpu={gpu} />)}</ul>}
      <dl className="facts">
        <dt>Runs</dt><dd>{worker.busy} of {worker.slots}{worker.gpus.length > 0 && worker.cpu_slots > 0 && `, ${worker.cpu_slots} on the processor`}</dd>
        <dt>Queue</dt><dd>{worker.queue}</dd>
        <dt>Host</dt><dd>{worker.host}, process {worker.pid}</dd>
        {processor && <><dt>Processor</dt><dd>{String(processor.name)}</dd></>}
        <dt>Last sign of life</dt><dd>{duration(worker.seen_seconds_ago)} ago, started <Ago at={worker.started_at} /></dd>
        <dt>Version</dt><dd>{worker.version}</dd>
      </dl>
    </section>
  );
}
