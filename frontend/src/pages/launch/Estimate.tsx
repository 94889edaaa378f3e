/** What the run of the form would cost, as the server says: memory by its parts beside what the device has, and time. */
import { Select } from '@mantine/core';
import { useDebouncedValue } from '@mantine/hooks';
import { useQuery } from '@tanstack/react-query';
import { IconAlertTriangle, IconCircleCheck } from '@tabler/icons-react';
import { type CSSProperties, useMemo, useState } from 'react';
import { api, ApiError, data, type DeviceEstimate, DRAFT } from '../../api/client';
import { lateness, useLast } from '../../api/last';

const PAUSE = 400;
const REFRESH = 5_000;

/** A part keeps its colour while the form changes: it is taken from its name, not from its place. */
const COLOURS: Record<string, string> = {
  weights: '--part-1', masters: '--part-2', adam: '--part-3', gradients: '--part-4', activations: '--part-5', head: '--part-6',
  reward_model: '--part-7', reference: '--part-8', visit: '--part-8', generation: '--part-5', scoring: '--part-6', data: '--part-4', runtime: '--part-9',
}; // prettier-ignore
const colour = (name: string): CSSProperties => ({ background: `var(${COLOURS[name] ?? '--part-9'})` });

const isWrong = (error: unknown): boolean => error instanceof ApiError && error.problem.status === 422;

export function Estimate({ config, gpus }: { config: Record<string, unknown>; gpus: number | undefined }) {
  const asked = useMemo(() => ({ config, gpus }), [config, gpus]);
  const [settled] = useDebouncedValue(asked, PAUSE);
  const [wanted, setWanted] = useState<string | null>(null);
  const estimate = useQuery({
    queryKey: ['estimate', settled],
    queryFn: () => data(api.POST('/api/v1/runs/estimate', { body: settled as never, headers: DRAFT })),
    refetchInterval: ({ state }) => (isWrong(state.error) ? false : REFRESH), // what is wrong stays so
    retry: false,
  });
  const last = useLast(settled, estimate);
  const wrong = isWrong(last.error); // which is an answer: there is no estimate of such settings
  const devices = last.answer?.items ?? [];
  const seen = devices.find((one) => one.device === wanted) ?? devices[0];
  return (
    <section className="panel box estimate" aria-label="Estimate" aria-busy={estimate.isFetching} data-testid="estimate">
      <h2>What it takes</h2>
      {wrong ? <p className="muted">An estimate appears when the fields that are marked are corrected.</p> : !seen && <p className="muted">{last.error ? `No estimate: ${last.error.message}` : 'Estimating…'}</p>}
      {!wrong && seen && (
        <>
          {last.error && <p className="muted" role="status" data-testid="late">{lateness(last, 'Shown is the estimate of earlier settings; those of now could not be estimated')}</p>}
          {devices.length > 1 && <Select size="xs" aria-label="Device" allowDeselect={false} data={[...new Set(devices.map((one) => one.device))]} value={seen.device} onChange={setWanted} />}
          <Verdict seen={seen} />
          {last.answer?.obstacle && <p className="verdict bad" role="status" data-testid="obstacle"><IconAlertTriangle size={16} aria-hidden /><span>No worker could take it: {last.answer.obstacle}.</span></p>}
          {seen.parts.length > 0 && <Memory seen={seen} />}
          {seen.duration && <Time seen={seen} />}
          {seen.unknown.map((what) => <p key={what} className="muted">Not known: {what}.</p>)}
        </>
      )}
    </section>
  );
}

function Verdict({ seen }: { seen: DeviceEstimate }) {
  const state = seen.fits === null ? 'open' : seen.fits ? 'good' : 'bad';
  return (
    <p className={`verdict ${state}`} data-testid="verdict" data-fits={String(seen.fits)} role={seen.fits === false ? 'alert' : undefined}>
      {seen.fits === true && <IconCircleCheck size={16} aria-hidden />}
      {seen.fits === false && <IconAlertTriangle size={16} aria-hidden />}
      <span>{seen.verdict}</span>
    </p>
  );
}

/** The parts of the peak, to the scale of the device; a mark stands where the device ends. */
function Memory({ seen }: { seen: DeviceEstimate }) {
  const peak = seen.parts.filter((part) => part.at_peak).toSorted((a, b) => b.bytes - a.bytes);
  const others = seen.parts.filter((part) => !part.at_peak);
  const whole = Math.max(seen.total_bytes ?? 0, seen.device_bytes ?? 0) || 1;
  return (
    <>
      <div className="stack" role="img" aria-label={`Memory: ${seen.total_size}`}>
        {peak.map((part) => <i key={part.name} style={{ ...colour(part.name), width: `${(part.bytes / whole) * 100}%` }} title={`${part.title}: ${part.size}`} />)}
        {seen.fits === false && <b style={{ left: `${((seen.device_bytes ?? 0) / whole) * 100}%` }} title="What the device has" />}
      </div>
      <table className="parts num">
        <tbody>
          {peak.map((part) => <tr key={part.name} title={part.explanation}><td><i style={colour(part.name)} />{part.title}</td><td>{part.size}</td></tr>)}
          <tr className="sum"><td>At the most</td><td>{seen.total_size}</td></tr>
        </tbody>
      </table>
      <details>
        <summary>What each part is</summary>
        <dl>{[...peak, ...others].map((part) => <div key={part.name}><dt>{part.title}{part.at_peak ? '' : ` (${part.size}, at another moment)`}</dt><dd>{part.explanation}</dd></div>)}</dl>
      </details>
    </>
  );
}

function Time({ seen }: { seen: DeviceEstimate }) {
  return (
    <table className="parts num" data-testid="time">
      <tbody>
        {seen.stages.map((stage) => <tr key={stage.name} title={stage.explanation}><td>{stage.title}</td><td>{stage.duration}</td></tr>)}
        <tr className="sum"><td>In all</td><td>{seen.duration}</td></tr>
      </tbody>
    </table>
  );
}
