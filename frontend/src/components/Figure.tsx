/** A figure of a run that grows by its new points only. Off screen it waits. */
import { Skeleton, useComputedColorScheme } from '@mantine/core';
import { useEffect, useRef, useState } from 'react';
import { api, data, type FigureOut, isGone, messageOf } from '../api/client';
import { useLive } from '../live/live';
import { FigurePump } from '../live/pump';
import type { Scheme } from '../theme';
import { Downloads } from './Downloads';
import { CONFIG, plotly, type PlotlyFigure, themed } from './plotly';
import { whenPrinted } from './printing';

function drawn(figure: string, cursor: string): void {
  window.__copg_drawn = { figure, cursor, at: Date.now() };
  window.dispatchEvent(new CustomEvent('copg:drawn', { detail: window.__copg_drawn }));
}

export function Figure({ run, name, title, wide = false }: { run: string; name: string; title: string; wide?: boolean }) {
  const element = useRef<HTMLDivElement>(null);
  const whole = useRef<PlotlyFigure | null>(null);
  const scheme = useComputedColorScheme('light') as Scheme;
  const schemeNow = useRef(scheme);
  schemeNow.current = scheme;
  const [status, setStatus] = useState<'loading' | 'empty' | 'shown'>('loading');
  const [problem, setProblem] = useState<string | null>(null);
  const { listen } = useLive();

  useEffect(() => {
    const target = element.current!;
    let rev: number | undefined; // of the run, as the last event told it: a server that has seen as much may answer from memory
    const params = { path: { name: name as never }, query: { run } };
    const pump = new FigurePump({
      whole: () => data(api.GET('/api/v1/figures/{name}', { params })) as Promise<FigureOut>,
      points: (after, fence) => data(api.GET('/api/v1/figures/{name}/points', { params: { ...params, query: { run, after, fence, rev } } })),
      async draw(answer) {
        const { react } = await plotly();
        whole.current = answer.figure as unknown as PlotlyFigure;
        const figure = themed(whole.current, schemeNow.current, !wide);
        await react(target, figure.data, figure.layout, CONFIG);
        setProblem(null);
        setStatus(answer.empty ? 'empty' : 'shown');
        if (!answer.empty) drawn(name, answer.cursor);
      },
      async extend({ traces, cursor }) {
        const { extendTraces } = await plotly();
        const grown = traces.map((trace, index) => ({ ...trace, index })).filter((trace) => trace.x.length > 0);
        // plotly appends in place to the arrays that it holds, so a change of theme finds every point there.
        await extendTraces(target, { x: grown.map((trace) => trace.x), y: grown.map((trace) => trace.y) }, grown.map((trace) => trace.index));
        setProblem(null);
        drawn(name, cursor);
      },
      failed: (error) => { setProblem(messageOf(error)); return !isGone(error); },
    });
    let visible = false;
    let owed = true;
    const hint = (again = false): void => {
      if (visible) { owed = false; void pump.hint(again); } else owed = true;
    };
    const watcher = new IntersectionObserver((entries) => {
      visible = entries.at(-1)?.isIntersecting ?? false; // the newest: several may have queued up
      if (visible && owed) hint();
    }, { rootMargin: '200px' });
    watcher.observe(target);
    const unprinted = whenPrinted(() => { owed = false; return pump.hint(); });
    const stop = listen(run, (told) => { rev = told?.rev; hint(); });
    return () => {
      pump.stop();
      unprinted();
      stop();
      watcher.disconnect();
      whole.current = null;
      setStatus('loading'); // what was drawn goes: until the next is, the panel says why
      void plotly().then(({ purge }) => purge(target));
    };
  }, [run, name, wide, listen]);

  useEffect(() => {
    const shown = element.current as (HTMLDivElement & { data?: PlotlyFigure['data'] }) | null;
    if (!whole.current || !shown?.data) return;
    const figure = themed({ data: shown.data, layout: whole.current.layout }, scheme, !wide);
    void plotly().then(({ react }) => react(shown, figure.data, figure.layout, CONFIG));
  }, [scheme, wide]);

  return (
    <section className={`panel figure${wide ? ' wide' : ''}`} data-testid={`figure-${name}`} data-status={status} aria-label={title}>
      <div style={{ display: 'flex', alignItems: 'baseline', gap: 10 }}>
        <h2>{title}</h2>
        {problem && status === 'shown' && <span className="sub cut" role="status" title={problem}>Not up to date: {problem}</span>}
        <Downloads title={title} file={`${run}-${name}`} csv={`/api/v1/figures/${name}?run=${run}&format=csv`} element={element} shown={status === 'shown'} layout={() => whole.current?.layout} />
      </div>
      <div className="plot">
        <div ref={element} style={{ position: 'absolute', inset: 0, visibility: status === 'shown' ? 'visible' : 'hidden' }} />
        {problem && status !== 'shown' ? <div className="cover" role="alert">{problem}</div>
          : status === 'loading' ? <div className="cover"><Skeleton height="86%" /></div>
          : status === 'empty' && <div className="cover">No point yet: the curve begins with the first one.</div>}
      </div>
    </section>
  );
}
