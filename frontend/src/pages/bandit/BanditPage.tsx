/** The paper's Section 5 with every quantity under a control: the curves follow the slider. */
import { Button, SegmentedControl, Skeleton, useComputedColorScheme } from '@mantine/core';
import { useMediaQuery } from '@mantine/hooks';
import { IconDownload } from '@tabler/icons-react';
import { useCallback, useEffect, useMemo, useRef, useState } from 'react';
import { useNavigate, useSearchParams } from 'react-router';
import { api, ApiError, type BanditConfig, type BanditFigures, type BanditPreset, data, DRAFT, messageOf, type Problem } from '../../api/client';
import { useBanditPresets } from '../../api/queries';
import { Offers } from '../../components/offers';
import { Copy, Failure } from '../../components/parts';
import { usePageTitle } from '../../components/title';
import type { Scheme } from '../../theme';
import './bandit.css';
import { Board, type Picture } from './board';
import { Controls } from './Controls';
import { decode, encode, LIVE, REST, type Scale, type View } from './experiment';
import { Latest } from './latest';
import { Outcome } from './Outcome';

const FIGURES = [['simplex', 'The policy’s way'], ['policies', 'Final policies'], ['frontier', 'Reward against KL']] as const;
const REST_MS = 250;
interface Question { view: View; live: boolean }

export function BanditPage() {
  usePageTitle('Bandit');
  const presets = useBanditPresets();
  return (
    <>
      <div className="head"><h1>Bandit</h1><span className="muted" style={{ fontSize: 13 }}>The paper’s Section 5: what each algorithm converges to, and how fast</span></div>
      {presets.data ? <Playground presets={presets.data} /> : presets.isError ? <Failure title="The bandit cannot be loaded" error={presets.error} /> : <Skeleton height={720} radius="lg" />}
    </>
  );
}

function Playground({ presets }: { presets: BanditPreset[] }) {
  const base = presets[0]!.config;
  const [query] = useSearchParams();
  const navigate = useNavigate();
  const [view, setView] = useState<View>(() => decode(base, query));
  const [answer, setAnswer] = useState<BanditFigures | null>(null);
  const [problem, setProblem] = useState<Problem | null>(null);
  const scheme = useComputedColorScheme('light') as Scheme;
  const narrow = useMediaQuery('(max-width: 700px)', undefined, { getInitialValueInEffect: false }) ?? false;
  const root = useRef<HTMLDivElement>(null);
  const latest = useRef<Latest<Question, BanditFigures>>(null);
  const picture = useRef<Picture | null>(null);
  const look = useRef({ scheme, narrow });
  look.current = { scheme, narrow };
  const now = useRef(view);
  const timer = useRef(0);
  const search = query.toString();
  // What this page last wrote into the address or read from it: the rest is somebody's click on back, forward or a link.
  const written = useRef(encode(base, view));

  const [board] = useState(() => new Board((shown) => {
    if (root.current) root.current.dataset.drawn = shown.live ? `live ${shown.key}` : shown.key;
    window.__copg_drawn = { figure: 'bandit', cursor: shown.key, at: Date.now() };
    window.dispatchEvent(new CustomEvent('copg:drawn', { detail: window.__copg_drawn }));
  }));

  useEffect(() => {
    const pump = new Latest<Question, BanditFigures>({
      fetch: ({ view: { config, scale }, live }, signal) => {
        const body = live ? { ...config, seeds: Math.min(config.seeds, LIVE.seeds) } : config;
        return data(api.POST('/api/v1/bandit/figures', { body, params: { query: { scale, points: live ? LIVE.points : REST.points } }, headers: DRAFT, signal })) as Promise<BanditFigures>;
      },
      show: (given, { view: asked, live }) => {
        picture.current = { answer: given, key: encode(base, asked), live, ...look.current };
        board.show(picture.current);
        setAnswer(given);
        setProblem(null);
      },
      failed: (error) => setProblem(error instanceof ApiError ? error.problem : { title: 'It failed', status: 0, detail: messageOf(error), errors: [] }),
    });
    latest.current = pump;
    pump.ask({ view: now.current, live: false });
    return () => { pump.stop(); window.clearTimeout(timer.current); };
  }, [base, board]);

  /** At rest the address is written, one entry of the history for a whole drag, and the thorough answer fetched. */
  const rest = useCallback((): void => {
    const text = encode(base, now.current);
    if (text !== written.current) {
      written.current = text;
      void navigate({ search: text });
    }
    latest.current?.ask({ view: now.current, live: false });
  }, [base, navigate]);
  const held = useRef(false);
  const later = useCallback((): void => {
    window.clearTimeout(timer.current);
    timer.current = window.setTimeout(() => { if (held.current) later(); else rest(); }, REST_MS);
  }, [rest]);
  const change = useCallback((next: View): void => {
    now.current = next;
    setView(next);
    latest.current?.ask({ view: next, live: true });
    later();
  }, [later]);
  const configure = useCallback((config: BanditConfig): void => change({ ...now.current, config }), [change]);

  // Back, forward and links: the address speaks.
  useEffect(() => {
    const given = decode(base, new URLSearchParams(search));
    if (encode(base, given) === written.current) return;
    written.current = encode(base, given);
    window.clearTimeout(timer.current);
    now.current = given;
    setView(given);
    latest.current?.ask({ view: given, live: false });
  }, [base, search]);
  useEffect(() => {
    const take = (): void => { held.current = true; };
    const drop = (): void => { held.current = false; };
    window.addEventListener('pointerdown', take);
    window.addEventListener('pointerup', drop);
    window.addEventListener('pointercancel', drop);
    return () => { window.removeEventListener('pointerdown', take); window.removeEventListener('pointerup', drop); window.removeEventListener('pointercancel', drop); };
  }, []);
  useEffect(() => {
    if (!picture.current) return;
    picture.current = { ...picture.current, scheme, narrow };
    board.show(picture.current);
  }, [board, scheme, narrow]);

  const asked = encode(base, { ...view, scale: 'linear' });
  const preset = presets.find((one) => encode(base, { config: one.config, scale: 'linear' }) === asked);
  const wrong = problem !== null; // nothing is on its way: a skeleton would promise it
  const errors = useMemo(() => (problem ? (problem.errors.length ? problem.errors : [{ field: '', message: problem.detail }]) : []), [problem]);
  const download = async (): Promise<void> => {
    const blob = await data(api.POST('/api/v1/bandit/figures', { body: view.config, params: { query: { format: 'csv', points: REST.points } }, parseAs: 'blob' })) as unknown as Blob;
    const link = Object.assign(document.createElement('a'), { href: URL.createObjectURL(blob), download: 'bandit.csv' });
    link.click();
    URL.revokeObjectURL(link.href);
  };
  const take = (one: BanditPreset): void => { change({ ...now.current, config: one.config }); held.current = false; };
  const rescale = (scale: Scale): void => change({ ...now.current, scale });
  const offers = [
    ...presets.filter((one) => one !== preset).map((one) => ({ id: one.name, label: `Preset: ${one.title}`, act: () => take(one) })),
    { id: 'scale', label: view.scale === 'log' ? 'Regret on a linear axis' : 'Regret on a log axis', act: () => rescale(view.scale === 'log' ? 'linear' : 'log') },
    ...(errors.length ? [] : [{ id: 'csv', label: 'All figures as CSV', act: () => void download() }]),
  ];
  return (
    <div className="bandit" ref={root} data-testid="bandit" data-wrong={errors.length > 0 || undefined}>
      <div className="presets">
        <div className="tally" role="group" aria-label="Presets">
          {presets.map((one) => <button key={one.name} type="button" data-testid={`preset-${one.name}`} aria-pressed={one === preset} onClick={() => take(one)}>{one.title}</button>)}
        </div>
        <p className="muted" data-testid="preset-description">{preset?.description ?? 'An experiment of your own: its address holds everything, so copy the link to share it.'}</p>
        <div className="tools"><Offers group="Bandit" offers={offers} /><Copy text={window.location.href} label="Copy link" group="Bandit" /><Button size="compact-xs" variant="default" leftSection={<IconDownload size={13} />} onClick={() => void download()} disabled={errors.length > 0}>CSV</Button></div>
      </div>
      <div className="hands">
        <Place board={board} name="regret" title="Regret" answer={answer} wrong={wrong}>
          <SegmentedControl size="xs" className="push" aria-label="Axis of regret" value={view.scale} data={[{ value: 'linear', label: 'Linear' }, { value: 'log', label: 'Log' }]} onChange={(scale) => rescale(scale as Scale)} />
        </Place>
        <Controls config={view.config} change={configure} errors={errors} />
      </div>
      {FIGURES.map(([name, title]) => <Place key={name} board={board} name={name} title={title} answer={answer} wrong={wrong} />)}
      <Outcome answer={answer} wrong={wrong} />
    </div>
  ); // prettier-ignore
}

/** A figure's place, as high before the first picture as after it. */
function Place({ board, name, title, answer, wrong, children }: { board: Board; name: string; title: string; answer: BanditFigures | null; wrong: boolean; children?: React.ReactNode }) {
  const here = useCallback((element: HTMLDivElement) => board.place(name, element), [board, name]);
  const figure = answer?.figures[name] as { layout?: { legend?: { title?: { text?: string } } } } | undefined;
  return (
    <section className={`panel figure at-${name}`} data-testid={`figure-${name}`} aria-label={title}>
      <div className="title"><h2>{title}</h2><span className="muted cut" data-testid={`caption-${name}`}>{figure?.layout?.legend?.title?.text}</span>{children}</div>
      <div className="plot">
        <div ref={here} style={{ position: 'absolute', inset: 0, visibility: figure ? 'visible' : 'hidden' }} />
        {!answer ? <div className="cover">{wrong ? 'Drawn as soon as what is wrong is put right.' : <Skeleton height="86%" />}</div> : !figure && <div className="cover">With three arms a policy is a point in a triangle, and its way is drawn here.</div>}
      </div>
    </section>
  ); // prettier-ignore
}
