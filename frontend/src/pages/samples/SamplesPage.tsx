/** What policies wrote for the same prompts, side by side over steps and over runs. Everything chosen stands in the address. */
import { ActionIcon, Button, Select, Skeleton } from '@mantine/core';
import { IconX } from '@tabler/icons-react';
import { Link, useNavigate } from 'react-router';
import type { SideBySide } from '../../api/client';
import { useRuns } from '../../api/queries';
import { useAddress } from '../../components/address';
import { Drawn } from '../../components/Drawn';
import { Offers } from '../../components/offers';
import { algorithmStyle, Copy, Failure } from '../../components/parts';
import { number, reward } from '../../format';
import { useRefresh } from '../../live/refresh';
import { usePageTitle } from '../../components/title';
import { type Asked, csvOf, type Histogram, type Only, type Order, useHistogram, useSideBySide } from './queries';
import { Prompts } from './Prompts';
import './samples.css';

const SORTS: readonly { value: Order; label: string }[] = [{ value: 'prompt', label: 'Order of the prompts' }, { value: 'gain', label: 'Largest gain first' }, { value: 'loss', label: 'Largest loss first' }, { value: 'reward', label: 'Highest reward first' }, { value: 'kl', label: 'Highest KL first' }, { value: 'length', label: 'Longest first' }];
const ONLY: readonly [Only, string][] = [['unfinished', 'Did not end'], ['rose', 'Reward rose'], ['fell', 'Reward fell'], ['rose_gold_fell', 'Reward rose, gold fell']];
const HISTOGRAMS: readonly [Histogram, string][] = [['reward', 'Rewards'], ['gold', 'Gold rewards'], ['length', 'Lengths']];
const MOST = 8;

export function SamplesPage() {
  const [query, change] = useAddress();
  const place = Number(query.get('focus') ?? NaN);
  const asked: Asked = {
    columns: query.getAll('column'),
    focus: Number.isInteger(place) && place >= 0 && place < query.getAll('column').length ? place : null,
    sort: SORTS.find((one) => one.value === query.get('sort'))?.value ?? 'prompt',
    only: ONLY.find(([name]) => name === query.get('only'))?.[0] ?? null,
  };
  const set = (key: string, value: string | null): void => change({ [key]: value });
  const setColumns = (columns: string[]): void => change({ column: columns, focus: null });
  const answer = useSideBySide(asked);
  const seen = answer.data?.pages[0];
  const failed = answer.isError && !seen; // what is shown stays where a later question fails
  useRefresh(['samples', asked.columns.join()], asked.columns.filter((one) => !/@\d+$/.test(one)).map((one) => one.split('@')[0]!));
  usePageTitle('Samples');
  const navigate = useNavigate();
  if (asked.columns.length === 0) return <Nothing />;
  const tried = `/playground?${[...new Set(asked.columns.map((one) => one.split('@')[0]!))].map((run) => `run=${run}`).join('&')}`;
  const shows = choices(seen);
  const steps = seen && new Set(asked.columns.map((one) => one.split('@')[0])).size === 1 ? spread(seen.columns[0]!.steps, MOST) : [];
  const course = steps.length > asked.columns.length ? () => setColumns(steps.map((step) => `${seen!.columns[0]!.run}@${step}`)) : null;
  const offers = [
    { id: 'try', label: 'Try a prompt', act: () => void navigate(tried) },
    ...(course ? [{ id: 'course', label: 'Steps of the whole run', act: course }] : []),
    ...(failed ? [] : [
      ...SORTS.filter(({ value }) => value !== asked.sort).map(({ value, label }) => ({ id: `sort ${value}`, label: `Sort: ${label}`, act: () => set('sort', value === 'prompt' ? null : value) })),
      ...shows.filter(({ value }) => value !== (asked.only ?? 'all')).map(({ value, label }) => ({ id: `show ${value}`, label: `Show: ${label}`, act: () => set('only', value === 'all' ? null : value) })),
    ]),
  ];
  return (
    <>
      <div className="head">
        <h1>Samples</h1>
        <span className="muted" style={{ fontSize: 13 }}>the same prompts, side by side; each completion is one draw, so what differs is chance as well as training</span>
        <Link className="push" style={{ fontSize: 13 }} to={tried}>Try a prompt</Link>
        <div><Copy text={window.location.href} label="Copy link" group="These samples" /></div>
        <Offers group="These samples" offers={offers} />
      </div>
      {answer.isError && <Failure title="These samples cannot be shown" error={answer.error}><p><Link to="/runs">All runs</Link></p></Failure>}
      {!failed && (
        <>
          <section className="panel columns" aria-label="Columns">
            {/* Until the answer to a change is there, the columns are those of the answer before. */}
            <ol>{seen ? seen.columns.slice(0, asked.columns.length).map((column, at) => <Column key={at} column={column} at={at} columns={asked.columns} onColumns={setColumns} />) : asked.columns.map((one) => <li key={one}><Skeleton height={39} /></li>)}</ol>
            {asked.columns.length < MOST && <Add columns={asked.columns} onColumns={setColumns} />}
            {steps.length > 1 && <Button size="xs" variant="default" aria-disabled={course ? undefined : true} data-disabled={course ? undefined : true} onClick={() => course?.()}>Steps of the whole run</Button>}
          </section>
          <div className="figures compare histograms">
            {HISTOGRAMS.filter(([name]) => name !== 'gold' || !seen || seen.has_gold).map(([name, title]) => <Figure key={name} columns={asked.columns} name={name} title={title} known={seen !== undefined} />)}
          </div>
          <section className="panel prompts" aria-label="Prompts">
            <div className="choices">
              <Select size="xs" w={190} label="Sort" allowDeselect={false} data={[...SORTS]} value={asked.sort} onChange={(value) => set('sort', value === 'prompt' ? null : value)} />
              <Select size="xs" w={230} label="Show" allowDeselect={false} data={shows} value={asked.only ?? 'all'} onChange={(value) => set('only', value === 'all' ? null : value)} />
              {seen && seen.columns.length > 2 && <Select size="xs" w={230} label="Judged by" allowDeselect={false} data={seen.columns.map((column, at) => ({ value: String(at), label: column.label })).slice(1)} value={String(seen.focus)} onChange={(value) => set('focus', value)} />}
              <span className="muted push num" data-testid="prompts-shown">{seen ? `${number(seen.total)} of ${number(seen.prompts)} prompts` : ''}</span>
            </div>
            {seen ? <Prompts columns={seen.columns} rows={answer.data!.pages.flatMap((page) => page.items)} gold={seen.has_gold} only={asked.only !== null} /> : <div style={{ padding: 16 }}><Skeleton height={320} /></div>}
            {answer.hasNextPage && <div className="more"><Button variant="default" size="xs" loading={answer.isFetchingNextPage} onClick={() => void answer.fetchNextPage()}>More prompts</Button></div>}
          </section>
        </>
      )}
    </>
  ); // prettier-ignore
}

/** At most so many of the steps, from the first to the last, as evenly as they lie. */
const spread = (steps: readonly number[], most: number): number[] =>
  steps.length <= most ? [...steps] : Array.from({ length: most }, (_, at) => steps[Math.round((at * (steps.length - 1)) / (most - 1))]!);

const choices = (seen: SideBySide | undefined) => [
  { value: 'all', label: seen ? `All prompts (${number(seen.prompts)})` : 'All prompts' },
  ...ONLY.filter(([name]) => name !== 'rose_gold_fell' || seen?.has_gold).map(([value, label]) => ({ value, label: seen ? `${label} (${number(seen.counts[value])})` : label })),
];

interface Choosing { columns: string[]; onColumns(columns: string[]): void }
function Column({ column, at, columns, onColumns }: Choosing & { column: SideBySide['columns'][number]; at: number }) {
  const choose = (step: string | null): void => { if (step) onColumns(columns.map((one, place) => (place === at ? `${column.run}@${step}` : one))); };
  const written = columns[at]!.split('@')[1]!;
  const steps = [{ value: 'first', label: 'first' }, { value: 'last', label: 'newest' }, ...column.steps.map((step) => ({ value: String(step), label: String(step) }))];
  return (
    <li data-testid="samples-column">
      <i className="swatch" style={algorithmStyle(column.algorithm)} aria-hidden />
      <div className="who">
        <Link to={`/runs/${column.run}/samples`} title={column.name}>{column.name}</Link>
        <span className="muted num">{at === 0 && columns.length > 1 && 'baseline, '}{column.step === null ? 'no samples yet' : `mean reward ${reward(column.reward_mean)}, n = ${number(column.n)}`}</span>
        {column.not_comparable !== null && <span className="apart">not compared with the first: {column.not_comparable}</span>}
      </div>
      <Select size="xs" w={104} aria-label={`Step of column ${at + 1}`} searchable allowDeselect={false} data={steps} value={written} onChange={choose} />
      {columns.length > 1 && <ActionIcon variant="subtle" color="gray" aria-label={`Remove column ${at + 1}`} onClick={() => onColumns(columns.filter((_, place) => place !== at))}><IconX size={14} /></ActionIcon>}
    </li>
  );
}

function Add({ columns, onColumns }: Choosing) {
  const runs = useRuns();
  const data = (runs.data ?? []).filter((run) => run.algorithm !== 'reward_model').map((run) => ({ value: run.id, label: `${run.name} (${run.id.slice(0, 6)})` }));
  return <Select size="xs" w={230} className="add" aria-label="Add a run" placeholder="Add a run, or a run’s other step" searchable limit={50} data={data} value={null} nothingFoundMessage="No run of this name" onChange={(run) => { if (run) onColumns([...columns, `${run}@last`]); }} />;
}

/** Where the columns themselves are wrong (`known` is not yet so) the page says it once, not each figure. */
function Figure({ columns, name, title, known }: { columns: string[]; name: Histogram; title: string; known: boolean }) {
  const { data: answer, error } = useHistogram(columns, name);
  return <Drawn name={`samples-${name}`} title={title} answer={answer} error={known ? error : null} csv={csvOf(columns, name)} below awaited={columns.map((_, place) => `step ${place}: n = 64, mean -1.23`)} wide={false} empty="Nothing to draw: the first evaluation is yet to come, or no completion has this score." />;
}

function Nothing() {
  return (
    <>
      <div className="head"><h1>Samples</h1></div>
      <section className="panel" style={{ padding: '40px 24px', textAlign: 'center' }} data-testid="samples-nothing">
        <p style={{ maxWidth: 520, margin: '0 auto 16px' }} className="muted">Open a run’s samples, or compare runs, and put their completions side by side: what is new against the first column is marked, and prompts are sorted by what was gained or lost.</p>
        <Button component={Link} to="/runs" variant="default" size="xs">Choose a run</Button>
      </section>
    </>
  );
}
