/** A figure that was fetched whole: drawn anew with every answer while somebody sees it, its place as high before the first one as after it. */
import { Skeleton, useComputedColorScheme } from '@mantine/core';
import { type ReactNode, useEffect, useRef, useState } from 'react';
import { type FigureOut, messageOf } from '../api/client';
import type { Scheme } from '../theme';
import { Downloads } from './Downloads';
import { CONFIG, plotly, type PlotlyFigure, themed } from './plotly';
import { whenPrinted } from './printing';
import { Turns } from './turns';

interface Props {
  name: string; title: string; answer: FigureOut | undefined; error: unknown; csv: string; empty: string;
  /** The legend has many lines: it stands below, and the figure grows by it. `awaited`: by how many entries it may, until it is there. */
  below?: boolean; awaited?: number; wide?: boolean; children?: ReactNode;
} // prettier-ignore

const LINE = 19; // px of a legend's line
const turns = new Turns();

export function Drawn({ name, title, answer, error, csv, empty, below = false, awaited = 0, wide = true, children }: Props) {
  const element = useRef<HTMLDivElement>(null);
  const scheme = useComputedColorScheme('light') as Scheme;
  // The first drawing is made at once; the next ones wait until they can be seen.
  const seen = useRef(false);
  const drawn = useRef(false);
  const owed = useRef<(() => Promise<void>) | null>(null);
  const [problem, setProblem] = useState<unknown>(null); // of drawing
  const shown = answer !== undefined && !answer.empty;
  const lines = below && shown ? (answer.figure as unknown as PlotlyFigure).data.filter((trace) => trace.showlegend !== false).length : below && !answer ? awaited : 0;
  useEffect(() => {
    const target = element.current!;
    owed.current = null;
    if (!answer || answer.empty) {
      turns.drop(target);
      return;
    }
    const draw = async (): Promise<void> => {
      try {
        const { react } = await plotly();
        const figure = themed(answer.figure as unknown as PlotlyFigure, scheme);
        const layout = below ? { ...figure.layout, legend: { ...(figure.layout.legend as object), y: -0.16, yanchor: 'top' } } : figure.layout;
        await react(target, figure.data, layout, CONFIG);
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
  }, [answer, scheme, below, name]);
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
      <div className="plot" style={below ? { height: 330 + LINE * Math.ceil(lines / 2) } : undefined}>
        <div ref={element} style={{ position: 'absolute', inset: 0, visibility: shown ? 'visible' : 'hidden' }} />
        {(error && !shown) || problem ? <div className="cover" role="alert">{messageOf(error && !shown ? error : problem)}</div> : !answer ? <div className="cover"><Skeleton height="86%" /></div> : answer.empty && <div className="cover">{empty}</div>}
      </div>
    </section>
  ); // prettier-ignore
}
