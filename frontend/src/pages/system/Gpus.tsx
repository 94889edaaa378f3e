/** What the GPUs of all workers did over the last hours. The span and the machine stand in the address. */
import { SegmentedControl, Select, Skeleton } from '@mantine/core';
import { keepPreviousData, useQuery } from '@tanstack/react-query';
import { useEffect } from 'react';
import { api, data, type GpuFigureOut } from '../../api/client';
import type { components, paths } from '../../api/schema';
import { useAddress } from '../../components/address';
import { Drawn } from '../../components/Drawn';

type WorkerList = components['schemas']['WorkerList'];
type Name = paths['/api/v1/workers/figures/{name}']['get']['parameters']['path']['name'];
interface Asked { hours: number; host: string | null }

const SPANS = [1, 6, 24] as const; // hours
const FIGURES: readonly [Name, string][] = [['gpu_use', 'Use'], ['gpu_memory', 'Memory']];

function useGpuFigure(name: Name, { hours, host }: Asked) {
  const query = { hours, host: host ?? undefined, minutes_east: -new Date().getTimezoneOffset() };
  return useQuery({
    queryKey: ['gpus', name, hours, host],
    queryFn: () => data(api.GET('/api/v1/workers/figures/{name}', { params: { path: { name }, query } })) as Promise<GpuFigureOut>,
    placeholderData: keepPreviousData,
    structuralSharing: false,
  });
}

/** Asked again when a heartbeat has come that would show: of a day, one point is several minutes. */
function useHeartbeats({ data: shown, isPlaceholderData, refetch }: ReturnType<typeof useGpuFigure>, sampledAt: string): void {
  const more = shown ? Date.parse(sampledAt) - Date.parse(shown.sampled_at ?? '1970-01-01') : 0;
  const due = !isPlaceholderData && more >= 1000 * (shown?.width_seconds ?? Infinity);
  useEffect(() => { if (due) void refetch({ cancelRefetch: false }); }, [due, sampledAt, refetch]);
}

export function Gpus({ workers }: { workers: WorkerList }) {
  const [query, change] = useAddress();
  const hours = SPANS.find((span) => String(span) === query.get('hours')) ?? SPANS[0];
  const host = query.get('host');
  const set = (key: string, value: string | null): void => change({ [key]: value });
  const sampledAt = workers.gpus_sampled_at;
  const use = useGpuFigure('gpu_use', { hours, host });
  if (sampledAt === null) {
    return (
      <section className="panel box over-time" aria-labelledby="gpus-title" data-testid="gpus">
        <h2 id="gpus-title">GPUs over time</h2>
        <p className="muted">{use.data?.reason ?? (use.isError ? 'Their history cannot be read.' : <Skeleton component="span" height={17} width={320} style={{ display: 'inline-block', maxWidth: '100%' }} />)}</p>
      </section>
    );
  }
  const known = workers.items.filter((worker) => worker.gpus.length > 0).map((worker) => worker.host); // before the figure names them
  const hosts = [...new Set([...known, ...(use.data?.hosts ?? []), ...(host ? [host] : [])])].sort();
  const awaited = workers.items.flatMap((worker) => (host === null || worker.host === host ? worker.gpus.map((_, place) => `${worker.host} GPU ${place}`) : []));
  return (
    <section className="over-time" aria-labelledby="gpus-title" data-testid="gpus">
      <div className="head">
        <h2 id="gpus-title">GPUs over time</h2>
        <div className="push controls">
          {(hosts.length > 1 || host) && <Select size="xs" w={180} aria-label="Machine" allowDeselect={false} value={host ?? ''} data={[{ value: '', label: 'All machines' }, ...hosts.map((one) => ({ value: one, label: one }))]} onChange={(value) => set('host', value)} />}
          <SegmentedControl size="xs" aria-label="Span" value={String(hours)} data={SPANS.map((span) => ({ value: String(span), label: `${span} h` }))} onChange={(value) => set('hours', value === String(SPANS[0]) ? null : value)} />
        </div>
      </div>
      <div className="figures">{FIGURES.map(([name, title]) => <GpuFigure key={name} name={name} title={title} asked={{ hours, host }} sampledAt={sampledAt} awaited={awaited} />)}</div>
    </section>
  );
}

function GpuFigure({ name, title, asked, sampledAt, awaited }: { name: Name; title: string; asked: Asked; sampledAt: string; awaited: readonly string[] }) {
  const found = useGpuFigure(name, asked);
  const { data: answer, error } = found;
  useHeartbeats(found, sampledAt);
  const csv = new URLSearchParams({ hours: String(asked.hours), ...(asked.host ? { host: asked.host } : {}), format: 'csv' });
  return <Drawn name={name} title={title} answer={answer} error={error} csv={`/api/v1/workers/figures/${name}?${csv.toString()}`} empty={answer?.reason ?? ''} below awaited={awaited} wide={false} />;
}
