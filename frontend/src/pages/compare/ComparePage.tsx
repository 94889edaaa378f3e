/** Runs side by side: the figures make themselves, and the table says what may be concluded. Everything chosen stands in the address. */
import { Button, NumberInput, SegmentedControl, Select, Skeleton } from '@mantine/core';
import { useDebouncedCallback } from '@mantine/hooks';
import { useEffect, useId, useRef, useState } from 'react';
import { Link, useNavigate } from 'react-router';
import type { Comparison } from '../../api/client';
import { useAddress } from '../../components/address';
import { Drawn } from '../../components/Drawn';
import { Offers } from '../../components/offers';
import { Copy, Failure } from '../../components/parts';
import { number } from '../../format';
import { usePageTitle } from '../../components/title';
import { finite, smoothingOf } from './address';
import './compare.css';
import { type Band, type Chosen, csvOf, type FigureName, isNothing, type Look, type Measure, reportOf, useComparison, useCompareEvents, useCompareFigure } from './queries';
import { Differences, Settings } from './Table';

const BELOW: readonly FigureName[] = ['reward', 'best', 'final', 'frontier', 'gold'];
const HALF: readonly FigureName[] = ['frontier', 'gold', 'time', 'cost', 'final'];
const TO_A_TARGET: readonly FigureName[] = ['time', 'cost'];
const AGAINST_STEP: readonly FigureName[] = ['reward', 'best'];
const WITH_ERRORS: readonly FigureName[] = ['reward', 'best', 'final', 'frontier', 'gold'];

const FEW = 6; // baselines that the palette lists unasked
const SMOOTHEST = 25; // evaluations on either side, of the slider: a larger value of the address stands at its end
const ABOUT_REPORT = 'Figures, tables and configurations as one HTML file, to send or to keep: it opens without the studio.';

export function ComparePage() {
  const [query, change] = useAddress();
  const chosen: Chosen = { runs: query.getAll('run'), sweep: query.get('sweep') };
  const measure: Measure = query.get('measure') === 'gold' ? 'gold' : 'reward';
  const baseline = query.get('baseline');
  const target = finite(query.get('target'));
  const smoothing = smoothingOf(query.get('smoothing'));
  const band: Band = query.get('band') === 'ci95' ? 'ci95' : 'stderr';
  const set = (key: string, value: string | null): void => change({ [key]: value });
  const { data: seen, error } = useComparison(chosen, measure, baseline);
  useCompareEvents(chosen, seen?.groups.flatMap((group) => group.runs.map((run) => run.id)) ?? []);
  usePageTitle('Compare');
  if (isNothing(chosen)) return <Nothing />;
  const report = reportOf(chosen, baseline, { measure, target, smoothing, band });
  return (
    <>
      <div className="head">
        <h1>Compare</h1>
        {seen ? <span className="muted" style={{ fontSize: 13 }} data-testid="compared" data-active={seen.active}>{seen.summary}</span> : !error && <Skeleton height={20} width={320} />}
        <div className="push" style={{ display: 'flex', gap: 8, alignItems: 'center', flexWrap: 'wrap' }}>
          {seen?.has_gold && <SegmentedControl size="xs" aria-label="Measure" value={measure} data={[{ value: 'reward', label: 'Reward' }, { value: 'gold', label: 'Gold reward' }]} onChange={(value) => set('measure', value === 'gold' ? value : null)} />}
          <span className="muted" style={{ fontSize: 12.5 }}>Bands of the figures</span>
          <SegmentedControl size="xs" aria-label="Bands" aria-describedby="about-bands" title={seen?.about.bands} value={band} data={[{ value: 'stderr', label: '± 1 s.e.' }, { value: 'ci95', label: '95 %' }]} onChange={(value) => set('band', value === 'ci95' ? value : null)} />
          <span className="sr" id="about-bands">{seen?.about.bands}</span>
          {seen ? <Button component={Link} to={samplesOf(seen)} variant="default" size="compact-xs">Samples</Button> : !error && <Button variant="default" size="compact-xs" disabled>Samples</Button>}
          {seen ? <Button component="a" href={report} download variant="default" size="compact-xs" title={ABOUT_REPORT}>Download report</Button> : !error && <Button variant="default" size="compact-xs" disabled>Download report</Button>}
          <Copy text={window.location.href} label="Copy link" group="This comparison" />
        </div>
      </div>
      {seen?.left_out && <p className="left-out" role="note" data-testid="left-out">{seen.left_out}</p>}
      {seen && <Offered seen={seen} measure={measure} band={band} report={report} set={set} />}
      {error && <Failure title="These runs cannot be compared" error={error}><p><Link to="/runs">All runs</Link></p></Failure>}
      {(seen || !error) && (
        <>
          <section className="panel differences" aria-label="Differences">
            <div className="title">
              <h2>At the last evaluation</h2>
              {seen ? <Select size="xs" label="Baseline" className="push baseline" allowDeselect={false} value={seen.baseline} data={seen.baselines.map((one) => ({ value: one.id, label: one.label }))} onChange={(value) => set('baseline', value)} comboboxProps={{ width: 320, position: 'bottom-end' }} /> : <Skeleton height={30} width={220} className="push" />}
            </div>
            <Differences seen={seen} expected={Math.min(Math.max(chosen.runs.length, 2), 4)} />
            {seen ? <p className="muted method" data-testid="method">{seen.method}{seen.notes.map((note) => <span key={note}> {note}</span>)}</p> : <div className="method"><Skeleton className="lines" /></div>}
          </section>
          <div className="figures compare">
            {seen ? seen.figures.map(({ name, title, algorithm }) => <Figure key={`${name} ${algorithm}`} chosen={chosen} title={title} look={{ name, measure, target: TO_A_TARGET.includes(name) ? target : null, smoothing: AGAINST_STEP.includes(name) ? smoothing : 0, band: WITH_ERRORS.includes(name) ? band : 'stderr', algorithm }} seen={seen} onTarget={(value) => set('target', value)} onSmoothing={(value) => set('smoothing', value ? String(value) : null)} />)
              : [0, 1].map((place) => <section key={place} className="panel figure wide"><div className="plot"><div className="cover"><Skeleton height="86%" /></div></div></section>)}
          </div>
          {seen && seen.fields.length > 0 && <Settings seen={seen} />}
        </>
      )}
    </>
  ); // prettier-ignore
}

/** The same choices, for the command palette. */
function Offered({ seen, measure, band, report, set }: { seen: Comparison; measure: Measure; band: Band; report: string; set(key: string, value: string | null): void }) {
  const navigate = useNavigate();
  const offers = [
    { id: 'samples', label: 'Samples side by side', act: () => void navigate(samplesOf(seen)) },
    { id: 'report', label: 'Download report', act: () => Object.assign(document.createElement('a'), { href: report, download: '' }).click() },
    { id: 'band', label: band === 'ci95' ? 'Bands: ± 1 s.e.' : 'Bands: 95 % interval', act: () => set('band', band === 'ci95' ? null : 'ci95') },
    ...(seen.has_gold ? [{ id: 'measure', label: measure === 'gold' ? 'Measure: reward' : 'Measure: gold reward', act: () => set('measure', measure === 'gold' ? null : 'gold') }] : []),
    ...seen.baselines.filter((one) => one.id !== seen.baseline).map((one) => ({ id: one.id, label: `Baseline: ${one.label}`, act: () => set('baseline', one.id), rare: seen.baselines.length > FEW })),
  ];
  return <Offers group="This comparison" offers={offers} />;
}

/** Side by side: what the first run wrote before training, and the newest of one run of each group. */
function samplesOf({ groups }: Comparison): string {
  const runs = groups.map((group) => group.runs[0]!.id);
  return `/samples?${[`${runs[0]}@first`, ...runs.slice(0, 7).map((run) => `${run}@last`)].map((column) => `column=${column}`).join('&')}`;
}

interface FigureProps { chosen: Chosen; title: string; look: Look; seen: Comparison; onTarget(value: string | null): void; onSmoothing(value: number): void }
function Figure({ chosen, title, look, seen, onTarget, onSmoothing }: FigureProps) {
  const { name, target, smoothing, algorithm } = look;
  const { data: answer, error } = useCompareFigure(chosen, look);
  // Where no mean rose above its start there is no reward to ask for unasked, but somebody may name one.
  const ofTarget = TO_A_TARGET.includes(name) && seen.groups.some((group) => group.mean !== null);
  const awaited = (name === 'best' ? [...new Map(seen.groups.map((group) => [group.algorithm, group])).values()] : seen.groups.filter((group) => !algorithm || group.algorithm === algorithm)).map((group) => `${group.label} ± 1 s.e., n = ${group.error_over}`);
  return (
    <Drawn name={`compare-${name}${algorithm ? `-${algorithm}` : ''}`} title={title} answer={answer} error={error} csv={csvOf(chosen, look)} below={BELOW.includes(name)} awaited={awaited} expected={ofTarget ? 72 + 38 * seen.groups.length : undefined} wide={!HALF.includes(name) && !algorithm} empty={name === 'best' ? 'No best yet: it is chosen among groups whose runs have finished and are scored alike.' : ofTarget ? (target === null && seen.target === null ? 'No mean rose above its start: name a reward to reach.' : 'No group has reached this reward.') : 'Nothing is measured yet: the figure begins with the first evaluation.'}>
      {ofTarget && <Target value={target} otherwise={seen.target} onTarget={onTarget} />}
      {AGAINST_STEP.includes(name) && <Smoothing value={smoothing} about={seen.about.smoothing} onChange={onSmoothing} />}
    </Drawn>
  ); // prettier-ignore
}

/** Over how many evaluations; what was measured stays visible under it. */
function Smoothing({ value, about, onChange }: { value: number; about: string; onChange(value: number): void }) {
  const [held, setHeld] = useState(value);
  const pending = useRef(false); // the address follows the slider a little later, and must not draw it back
  useEffect(() => { if (!pending.current) setHeld(value); }, [value]);
  const later = useDebouncedCallback((next: number) => { pending.current = false; onChange(next); }, 150);
  const hint = useId();
  return (
    <label className="smoothing muted" title={about}>
      Smoothing <input type="range" min={0} max={SMOOTHEST} step={1} value={held} aria-label="Smoothing" aria-describedby={hint} aria-valuetext={held ? `${held} evaluations on either side` : 'none'} onChange={(event) => { pending.current = true; setHeld(event.target.valueAsNumber); later(event.target.valueAsNumber); }} />
      <span className="num" aria-hidden>{held ? `± ${held}` : 'none'}</span>
      <span className="sr" id={hint}>{about}</span>
    </label>
  );
}

function Target({ value, otherwise, onTarget }: { value: number | null; otherwise: number | null; onTarget(value: string | null): void }) {
  const [draft, setDraft] = useState<string | number>(value ?? '');
  useEffect(() => setDraft(value ?? ''), [value]); // two figures have a field for it
  const settle = (): void => {
    const next = finite(draft);
    if (next === null) setDraft('');
    onTarget(next === null ? null : String(next));
  };
  return (
    <form className="target" onSubmit={(event) => { event.preventDefault(); settle(); }}>
      <NumberInput size="xs" w={110} aria-label="Reward to reach" placeholder={number(otherwise, 3)} value={draft} onChange={setDraft} onBlur={settle} hideControls />
    </form>
  );
}

function Nothing() {
  return (
    <>
      <div className="head"><h1>Compare</h1></div>
      <section className="panel" style={{ padding: '40px 24px', textAlign: 'center' }} data-testid="compare-nothing">
        <p style={{ maxWidth: 520, margin: '0 auto 16px' }} className="muted">Choose runs in the table and press Compare, or open a sweep and compare its runs. Curves for each beta, the best of each algorithm, reward against KL and paired differences over the same prompts make themselves.</p>
        <div style={{ display: 'flex', gap: 8, justifyContent: 'center' }}><Button component={Link} to="/runs" variant="default" size="xs">Choose runs</Button><Button component={Link} to="/sweeps" variant="default" size="xs">Open a sweep</Button></div>
      </section>
    </>
  );
}
