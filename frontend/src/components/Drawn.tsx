/** A figure that was fetched whole: drawn anew with every answer while somebody sees it, its place as high before the first one as after it. */
import { Skeleton, useComputedColorScheme } from '@mantine/core';
import { type ReactNode, useEffect, useMemo, useRef, useState } from 'react';
import { type FigureOut, messageOf } from '../api/client';
import type { Scheme } from '../theme';
import { Downloads } from './Downloads';
import { entriesOf, keyOf, Legend } from './Legend';
import { CONFIG, plotly, type PlotlyFigure, themed } from './plotly';
import { whenPrinted } from './printing';
import { Turns } from './turns';

interface Props {
  name: string; title: string; answer: FigureOut | undefined; error: unknown; csv: string; empty: string;
  /** The legend may have many lines: it stands below as words of the page. `awaited`: its words, about, until it is there; `expected`: px of a figure that says its height. */
  below?: boolean; awaited?: readonly string[]; expected?: number; wide?: boolean; children?: ReactNode;
} // prettier-ignore

const NONE: readonly string[] = [];
const turns = new Turns();

export function Drawn({ name, title, answer, error, csv, empty, below = false, expected, awaited = NONE, wide = true, children }: Props) {
  const element = useRef<HTMLDivElement>(null);
  const scheme = useComputedColorScheme('light') as Scheme;
  // The first drawing is made at once; the next ones wait until they can be seen.
  const seen = useRef(false);
  const drawn = useRef(false);
  const owed = useRef<(() => Promise<void>) | null>(null);
  const [problem, setProblem] = useState<unknown>(null); // of drawing
  const shown = answer !== undefined && !answer.empty;
  const [hidden, setHidden] = useState<ReadonlySet<string>>(new Set());
  const figure = useMemo(() => (shown ? themed(answer.figure as unknown as PlotlyFigure, scheme) : null), [answer, shown, scheme]);
  const high = ((answer?.figure as unknown as PlotlyFigure | undefined)?.layout.height ?? (answer ? undefined : expected)) as number | undefined; // where the figure says so
  useEffect(() => {
    const target = element.current!;
    owed.current = null;
    if (!figure) {
      turns.drop(target);
      return;
    }
    const draw = async (): Promise<void> => {
      try {
        const { react } = await plotly();
        const data = figure.data.map((trace) => (hidden.has(keyOf(trace)) ? { ...trace, visible: false } : trace));
        await react(target, data, below ? { ...figure.layout, showlegend: false } : figure.layout, CONFIG);
      } catch (caught) {
        setProblem(caught);
        throw caught;
      }
      setProblem(null);
      drawn.current = true;
      window.dispatchEvent(new CustomEvent('copg:drawn', { detail: { figure: name, cursor: '', at: Date.now() } }));
    };
    if (seen.current || !drawn.current) turns.ask(target, draw);
    else {
      turns.drop(target);
      owed.current = draw;
    }
  }, [figure, hidden, below, name]);
  useEffect(() => {
    const target = element.current!;
    const watcher = new IntersectionObserver((entries) => {
      seen.current = entries.at(-1)?.isIntersecting ?? false; // the newest: several may have queued up
      if (!seen.current || !owed.current) return;
      turns.ask(target, owed.current);
      owed.current = null;
    }, { rootMargin: '200px' });
    watcher.observe(target);
    const unprinted = whenPrinted(async () => {
      const draw = owed.current ?? turns.take(target);
      owed.current = null;
      await draw?.();
    });
    return () => {
      unprinted();
      watcher.disconnect();
      turns.drop(target);
      drawn.current = false;
      void plotly().then(({ purge }) => purge(target));
    };
  }, []);
  return (
    <section className={`panel figure${wide ? ' wide' : ''}`} aria-label={title} data-testid={`figure-${name}`} data-status={shown ? 'shown' : answer ? 'empty' : 'loading'}>
      <div style={{ display: 'flex', alignItems: 'baseline', gap: 10, flexWrap: 'wrap' }}>
        <h2>{title}</h2>
        {children}
        <Downloads title={title} file={name} csv={csv} element={element} shown={shown} layout={() => (answer?.figure as unknown as PlotlyFigure | undefined)?.layout} />
      </div>
      <div className="plot" style={high ? { height: high, minHeight: high } : below ? { height: 330 } : undefined}>
        <div ref={element} style={{ position: 'absolute', inset: 0, visibility: shown ? 'visible' : 'hidden' }} />
        {(error && !shown) || problem ? <div className="cover" role="alert">{messageOf(error && !shown ? error : problem)}</div> : !answer ? <div className="cover"><Skeleton height="86%" /></div> : answer.empty && <div className="cover">{empty}</div>}
      </div>
      {below && (figure ? <Legend entries={entriesOf(figure.data)} hidden={hidden} onHidden={setHidden} /> : !answer && <Awaited words={awaited} />)}
    </section>
  ); // prettier-ignore
}

/** As high as the legend will be. */
function Awaited({ words }: { words: readonly string[] }) {
  return <ul className="legend" aria-hidden style={{ visibility: 'hidden' }}>{words.map((word, place) => <li key={place}><button type="button" disabled><svg width="38" height="12" />{word}</button></li>)}</ul>;
}
