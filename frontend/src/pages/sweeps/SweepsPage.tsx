/** Every sweep: how far it is, what it costs, what is best in it. */
import { Button, Skeleton } from '@mantine/core';
import { IconPlus } from '@tabler/icons-react';
import { Link } from 'react-router';
import { May } from '../../api/session';
import { Ago } from '../../components/Ago';
import { AlgorithmChip, Failure } from '../../components/parts';
import { usePageTitle } from '../../components/title';
import { duration, moment } from '../../format';
import { BestLine, StateCounts, SweepProgress } from './parts';
import { useSweeps } from './queries';

export function SweepsPage() {
  usePageTitle('Sweeps');
  const sweeps = useSweeps();
  const launch = <May scope="launch"><Button component={Link} to="/launch?mode=sweep" leftSection={<IconPlus size={15} />}>New sweep</Button></May>;
  return (
    <>
      <div className="head"><h1>Sweeps</h1><div className="push">{sweeps.data && sweeps.data.length > 0 && launch}</div></div>
      {sweeps.isError && !sweeps.data ? <Failure title="The sweeps cannot be shown" error={sweeps.error} /> : !sweeps.data ? <div style={{ display: 'grid', gap: 12 }} aria-busy="true"><Skeleton height={120} /><Skeleton height={120} /></div> : sweeps.data.length === 0 ? (
        <section className="panel empty">
          <div><h2>One question, many runs</h2><p>A sweep trains one configuration at many values: betas, seeds, learning rates, algorithms. Reference and rewards are computed once for all of them, the reward is drawn against beta with its standard errors, and runs that fall behind can be stopped on evidence.</p></div>
          <div>{launch}</div>
        </section>
      ) : (
        <ul className="sweeps" data-testid="sweeps">
          {sweeps.data.map((sweep) => (
            <li className="panel" key={sweep.id} data-sweep-id={sweep.id}>
              <div className="title"><Link className="name" to={`/sweeps/${sweep.id}`}>{sweep.name}</Link><span className="muted num" title={moment(sweep.created_at)}><Ago at={sweep.created_at} /></span></div>
              <SweepProgress sweep={sweep} />
              <div className="line"><StateCounts sweep={sweep} />{sweep.algorithms.map((one) => <AlgorithmChip key={one} algorithm={one} />)}</div>
              <div className="line muted num">
                <span>{duration(sweep.device_seconds)} of device time</span>
                {sweep.active && <span title={sweep.remaining.reason ?? undefined}>{sweep.remaining.seconds === null ? `time left unknown: ${sweep.remaining.reason}` : `${duration(sweep.remaining.seconds)} left`}</span>}
                {sweep.best && <span>best: <BestLine best={sweep.best} /></span>}
              </div>
            </li>
          ))}
        </ul>
      )}
    </>
  );
}
