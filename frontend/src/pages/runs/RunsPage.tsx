/** Every run: live, virtualised, filtered by what stands in the address. */
import { ActionIcon, Button, Checkbox, CloseButton, Menu, Select, Skeleton } from '@mantine/core';
import { useVirtualizer } from '@tanstack/react-virtual';
import { useMediaQuery } from '@mantine/hooks';
import { IconArrowDown, IconArrowUp, IconChartLine, IconPlus, IconTestPipe } from '@tabler/icons-react';
import { useMemo, useRef, useState } from 'react';
import { Link, useNavigate } from 'react-router';
import type { RunSummary } from '../../api/client';
import { usePipelineNames, useRuns } from '../../api/queries';
import { May } from '../../api/session';
import { ActionButtons, RunMenu } from '../../components/actions';
import { useAddress } from '../../components/address';
import { Ago } from '../../components/Ago';
import { SIZES, useMiniature, Welcome } from '../../components/Miniature';
import { useKeys } from '../../components/keys';
import { Offers } from '../../components/offers';
import { AlgorithmChip, algorithmName, Failure, Progress, StateChip } from '../../components/parts';
import '../../components/tags.css';
import { usePageTitle } from '../../components/title';
import { moment, number, reward, words } from '../../format';
import { useSweeps } from '../sweeps/queries';
import { PausedBanner } from '../system/Queue';
import { Search } from './Search';
import { filterRuns, parseSort, sortRuns, STATES, tally } from './select';

const COLUMNS: [key: string, label: string, cls: string, sortable: boolean][] = [
  ['name', 'Name', 'c-name', true], ['state', 'State', 'c-state', true], ['progress', 'Progress', 'c-progress', true],
  ['reward', 'Last reward', 'c-reward right', true], ['algorithm', 'Algorithm', 'c-alg', true], ['beta', 'Beta', 'c-beta right', true],
  ['pipeline', 'Made by', 'c-pipe', true], ['created', 'Created', 'c-when', true],
]; // prettier-ignore

const NO_NAMES: ReadonlyMap<string, string> = new Map();

export function RunsPage() {
  usePageTitle('Runs');
  const runs = useRuns();
  const pipelines = usePipelineNames();
  const sweeps = useSweeps();
  const miniature = useMiniature();
  const navigate = useNavigate();
  const [query, change] = useAddress();
  const [chosen, setChosen] = useState<ReadonlySet<string>>(new Set());
  const narrow = useMediaQuery('(max-width: 700px)', undefined, { getInitialValueInEffect: false }) ?? false;
  const scroller = useRef<HTMLDivElement>(null);
  const finder = useRef<HTMLInputElement>(null);

  const set = (key: string, value: string | null): void => change({ [key]: value });
  const filter = { state: query.get('state'), algorithm: query.get('algorithm'), pipeline: query.get('pipeline'), sweep: query.get('sweep'), tag: query.get('tag'), search: query.get('q') ?? '' };
  const sort = parseSort(query.get('sort'));

  const all = runs.data ?? [];
  const byId = useMemo(() => new Map(all.map((run) => [run.id, run])), [all]);
  const pipelineName = pipelines.data ?? NO_NAMES;
  const sweepName = useMemo(() => new Map((sweeps.data ?? []).map((one) => [one.id, one.name])), [sweeps.data]);
  const key = JSON.stringify(filter);
  const within = useMemo(() => filterRuns(all, { ...filter, state: null }), [all, key]);
  const rows = useMemo(() => sortRuns(filterRuns(within, filter), sort), [within, key, sort.key, sort.descending]);
  const counts = useMemo(() => tally(within), [within]);
  const selected = rows.filter((run) => chosen.has(run.id));
  const compared = `/compare?${selected.map((run) => `run=${run.id}`).join('&')}`;

  const height = narrow ? 98 : 52;
  const virtual = useVirtualizer({ count: rows.length, getScrollElement: () => scroller.current, estimateSize: () => height, overscan: 8, getItemKey: (index) => rows[index]!.id });
  const choose = (id: string, on: boolean): void => setChosen((before) => { const next = new Set(before); if (on) next.add(id); else next.delete(id); return next; });

  // The keyboard moves the focus itself: Enter is then the link's own, and screen readers follow.
  const focused = (): number => rows.findIndex((run) => run.id === document.activeElement?.closest('[data-run-id]')?.getAttribute('data-run-id'));
  const go = (by: number): void => {
    const place = Math.min(Math.max(focused() + by, 0), rows.length - 1);
    if (place < 0) return;
    virtual.scrollToIndex(place);
    const focus = (tries: number): void => {
      const link = scroller.current?.querySelector<HTMLElement>(`[data-run-id='${rows[place]!.id}'] a.name`);
      if (link) link.focus(); else if (tries > 0) requestAnimationFrame(() => focus(tries - 1)); // its row is drawn in one of the next frames
    };
    focus(10);
  };
  useKeys({
    j: () => go(1),
    k: () => go(-1),
    x: () => { const run = rows[focused()]; if (run) choose(run.id, !chosen.has(run.id)); },
    '/': () => finder.current?.focus(),
  });

  const everything = <Checkbox size="xs" aria-label="Select all shown" label={narrow ? 'All' : undefined} checked={selected.length > 0 && selected.length === rows.length} indeterminate={selected.length > 0 && selected.length < rows.length} onChange={(event) => setChosen(event.currentTarget.checked ? new Set(rows.map((run) => run.id)) : new Set())} />;
  const head = (
    <div className="head">
      <h1>Runs</h1>
      <May scope="launch"><div className="push" style={{ display: 'flex', gap: 8 }}>
        {all.length > 0 && (
          <Menu>
            <Menu.Target><Button variant="default" leftSection={<IconTestPipe size={15} />} loading={miniature.isPending}>{narrow ? 'Miniature' : 'Paper in miniature'}</Button></Menu.Target>
            <Menu.Dropdown>
              <Menu.Label>SFT, reward model, CoPG on a built-in task</Menu.Label>
              {SIZES.map((one) => <Menu.Item key={one.size} data-testid={`miniature-${one.size}`} onClick={() => miniature.mutate(one.size)}>{one.title} · {one.time}</Menu.Item>)}
            </Menu.Dropdown>
          </Menu>
        )}
        <Button component={Link} to="/launch" leftSection={<IconPlus size={15} />}>Launch</Button>
      </div></May>
    </div>
  );
  if (runs.isError && !runs.data) return <>{head}<Failure title="The runs cannot be shown" error={runs.error}><Button mt="sm" size="xs" variant="default" onClick={() => void runs.refetch()}>Try again</Button></Failure></>;
  if (runs.data && all.length === 0) return <>{head}<May scope="launch" otherwise={<p className="panel box muted">There is no run yet.</p>}><Welcome /></May></>;

  return (
    <>
      {head}
      <PausedBanner />
      <div className="panel" style={{ overflow: 'hidden' }}>
        <div className="filters">
          <div className="tally" role="group" aria-label="Filter by state">
            <button type="button" aria-pressed={!filter.state} onClick={() => set('state', null)}>All<b className="num">{within.length}</b></button>
            {STATES.filter((state) => counts[state] || filter.state === state).map((state) => (
              <button type="button" key={state} aria-pressed={filter.state === state} onClick={() => set('state', filter.state === state ? null : state)}>{words(state)}<b className="num">{counts[state] ?? 0}</b></button>
            ))}
          </div>
          {filter.pipeline && <span className="chip" style={{ '--chip': 'var(--c-accent)' } as never}>Pipeline: {pipelineName.get(filter.pipeline) ?? filter.pipeline}<CloseButton size={16} aria-label="Show all pipelines" onClick={() => set('pipeline', null)} /></span>}
          {filter.sweep && <span className="chip" style={{ '--chip': 'var(--c-accent)' } as never}>Sweep: <Link to={`/sweeps/${filter.sweep}`} style={{ color: 'inherit' }}>{sweepName.get(filter.sweep) ?? filter.sweep}</Link><CloseButton size={16} aria-label="Show all sweeps" onClick={() => set('sweep', null)} /></span>}
          {filter.tag && <span className="chip" style={{ '--chip': 'var(--c-accent)' } as never}>Tag: {filter.tag}<CloseButton size={16} aria-label="Show all tags" onClick={() => set('tag', null)} /></span>}
          <div className="push" style={{ display: 'flex', gap: 8, flex: narrow ? '1 1 100%' : undefined }}>
            <Select aria-label="Algorithm" placeholder="Any algorithm" size="xs" clearable w={150} value={filter.algorithm} onChange={(value) => set('algorithm', value)} data={['sft', 'reward_model', 'copg', 'dpo', 'ipo', 'policy_gradient'].map((value) => ({ value, label: algorithmName(value) }))} />
            <Search words={filter.search} search={(words) => set('q', words)} narrow={narrow} field={finder} />
          </div>
          {narrow && ( // where the table has no head
            <div style={{ flex: '1 1 100%', display: 'flex', gap: 8, alignItems: 'center' }}>
              {everything}
              <Select aria-label="Sort by" size="xs" w={150} ml="auto" allowDeselect={false} value={sort.key} onChange={(value) => set('sort', `-${value}`)} data={COLUMNS.map(([value, label]) => ({ value, label }))} />
              <ActionIcon variant="default" size={30} aria-label={sort.descending ? 'Descending: sort ascending' : 'Ascending: sort descending'} onClick={() => set('sort', sort.descending ? sort.key : `-${sort.key}`)}>{sort.descending ? <IconArrowDown size={15} /> : <IconArrowUp size={15} />}</ActionIcon>
            </div>
          )}
          {selected.length > 0 && (
            <div style={{ flexBasis: '100%', display: 'flex', gap: 12, alignItems: 'center', flexWrap: 'wrap' }} role="status">
              <span className="num" style={{ fontWeight: 560, fontSize: 13 }}>{selected.length} selected</span>
              <Button size="xs" variant="default" component={Link} to={compared} leftSection={<IconChartLine size={14} />} data-testid="compare-button">Compare</Button>
              <Offers group="Selected runs" offers={[{ id: 'compare', label: `Compare (${selected.length})`, act: () => void navigate(compared) }, { id: 'clear', label: 'Clear the selection', act: () => setChosen(new Set()) }]} />
              <ActionButtons runs={selected} group="Selected runs" then={() => setChosen(new Set())} />
              <Button size="xs" variant="subtle" color="gray" onClick={() => setChosen(new Set())}>Clear</Button>
            </div>
          )}
        </div>
        <div className={rows.length < 9 && !runs.isPending ? 'runs few' : 'runs'} ref={scroller} role="table" aria-label="Runs" aria-rowcount={rows.length + 1} tabIndex={0}>
          <div role="rowgroup" className="grid thead-group" style={{ display: 'contents' }}>
            <div className="grid thead" role="row">
              <span role="columnheader">{everything}</span>
              {COLUMNS.map(([name, label, cls]) => (
                <span key={name} role="columnheader" className={cls} aria-sort={sort.key === name ? (sort.descending ? 'descending' : 'ascending') : 'none'}>
                  <button type="button" onClick={() => set('sort', sort.key === name && sort.descending ? name : `-${name}`)}>{label}{sort.key === name && (sort.descending ? <IconArrowDown size={13} /> : <IconArrowUp size={13} />)}</button>
                </span>
              ))}
              <span role="columnheader"><span className="sr">Actions</span></span>
            </div>
          </div>
          {runs.isPending ? (
            <div role="rowgroup" aria-busy="true"><div role="row"><div role="cell" aria-colspan={COLUMNS.length + 2} style={{ padding: 12, display: 'grid', gap: 12 }}>{Array.from({ length: 8 }, (_, index) => <Skeleton key={index} height={height - 14} />)}</div></div></div>
          ) : rows.length === 0 ? (
            <div role="rowgroup"><div role="row"><div role="cell" aria-colspan={COLUMNS.length + 2} style={{ padding: '56px 20px', textAlign: 'center' }} className="muted">No run fits this filter. <Button variant="subtle" size="compact-sm" onClick={() => change(Object.fromEntries([...query.keys()].map((key) => [key, null])))}>Show all runs</Button></div></div></div>
          ) : (
            <div role="rowgroup" style={{ height: virtual.getTotalSize(), position: 'relative', minWidth: narrow ? 0 : 1020 }}>
              {virtual.getVirtualItems().map((item) => {
                const run = rows[item.index]!;
                return <Row key={run.id} run={run} top={item.start} index={item.index} checked={chosen.has(run.id)} choose={choose} parents={run.parents.map((id) => [id, byId.get(id)?.name ?? id.slice(0, 8)])} pipeline={run.pipeline ? (pipelineName.get(run.pipeline) ?? 'Pipeline') : null} onPipeline={() => set('pipeline', run.pipeline)} sweep={run.sweep ? (sweepName.get(run.sweep) ?? 'Sweep') : null} tag={filter.tag} onTag={(tag) => set('tag', tag)} />;
              })}
            </div>
          )}
        </div>
      </div>
    </>
  );
}

interface RowProps { run: RunSummary; top: number; index: number; checked: boolean; choose: (id: string, on: boolean) => void; parents: string[][]; pipeline: string | null; onPipeline: () => void; sweep: string | null; tag: string | null; onTag: (tag: string | null) => void }
const TAGS_SHOWN = 2;
function Row({ run, top, index, checked, choose, parents, pipeline, onPipeline, sweep, tag, onTag }: RowProps) {
  const rest = run.tags.slice(TAGS_SHOWN);
  return (
    <div role="row" className="grid row" aria-rowindex={index + 2} aria-selected={checked} style={{ transform: `translateY(${top}px)` }} data-testid="run-row" data-run-id={run.id} data-state={run.state} data-algorithm={run.algorithm}>
      <span role="cell" className="c-check"><Checkbox size="xs" aria-label={`Select ${run.name}`} checked={checked} onChange={(event) => choose(run.id, event.currentTarget.checked)} /></span>
      <span role="cell" className="c-name cut">
        <Link className="name cut" to={`/runs/${run.id}`} title={run.name}>{run.name}</Link>
        <span className="below">
          {run.tags.slice(0, TAGS_SHOWN).map((one) => <button type="button" key={one} className="tag" aria-pressed={one === tag} title={one === tag ? 'Show all tags' : `Only runs with the tag ${one}`} onClick={() => onTag(one === tag ? null : one)}>{one}</button>)}
          {rest.length > 0 && <span className="sub" title={rest.join(', ')}>+{rest.length}</span>}
          {run.error ? <span className="sub cut" style={{ color: 'var(--c-danger)' }} title={run.error}>{run.error}</span>
            : parents.length > 0 && <span className="sub cut">from {parents.map(([id, name], place) => <span key={id}>{place > 0 && ', '}<Link to={`/runs/${id}`}>{name}</Link></span>)}</span>}
        </span>
      </span>
      <span role="cell" className="c-state"><StateChip state={run.state} /></span>
      <span role="cell" className="c-progress"><Progress run={run} /></span>
      <span role="cell" className="c-reward right num">{reward(run.last_reward)}</span>
      <span role="cell" className="c-alg"><AlgorithmChip algorithm={run.algorithm} variant={run.variant} /></span>
      <span role="cell" className="c-beta right num">{number(run.beta)}</span>
      <span role="cell" className="c-pipe cut">{pipeline ? <Button variant="subtle" color="gray" size="compact-xs" maw="100%" onClick={onPipeline} title={`Only the runs of ${pipeline}`}><span className="cut">{pipeline}</span></Button> : sweep ? <Link className="sub cut" style={{ display: 'block', color: 'inherit' }} to={`/sweeps/${run.sweep}`} title={sweep}>{sweep}</Link> : <span className="muted">–</span>}</span>
      <span role="cell" className="c-when muted num" title={moment(run.created_at)}><Ago at={run.created_at} /></span>
      <span role="cell" className="c-menu"><RunMenu run={run} /></span>
    </div>
  );
}
