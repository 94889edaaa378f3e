/** A figure of a data set: drawn once, by the function of the server that also makes its CSV. */
import { Skeleton, useComputedColorScheme } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useEffect, useRef } from 'react';
import { api, data } from '../../api/client';
import { lateness, useLast } from '../../api/last';
import { Downloads } from '../../components/Downloads';
import { Failure } from '../../components/parts';
import { CONFIG, plotly, type PlotlyFigure, themed } from '../../components/plotly';
import type { Scheme } from '../../theme';

export function DataFigure({ id, name, version }: { id: string; name: string; version: string }) {
  const place = useRef<HTMLDivElement>(null);
  const scheme = useComputedColorScheme('light') as Scheme;
  const path = { dataset_id: id, figure: name as never };
  const answer = useQuery({ queryKey: ['dataset', id, 'figure', name, version], staleTime: Infinity, queryFn: () => data(api.GET('/api/v1/figures/data/{dataset_id}/{figure}', { params: { path } })) as Promise<{ title: string; figure: unknown }> });
  const last = useLast(version, answer);
  const { title, figure } = last.answer ?? {};
  const late = lateness(last, 'Of the analysis before');
  useEffect(() => {
    const element = place.current;
    if (!element || !figure) return;
    const drawn = themed(figure as PlotlyFigure, scheme, true);
    void plotly().then(({ react }) => react(element, drawn.data, drawn.layout, CONFIG));
  }, [figure, scheme]);
  useEffect(() => { const element = place.current; return () => { if (element) void plotly().then(({ purge }) => purge(element)); }; }, []);
  return (
    <section className="panel figure" aria-label={title ?? 'Figure'} data-testid={`figure-${name}`} data-status={figure ? 'shown' : 'loading'}>
      <div style={{ display: 'flex', alignItems: 'baseline', gap: 10 }}>
        <h2>{title ?? <span className="muted">…</span>}</h2>
        {last.error && figure ? <span className="sub cut" role="status" title={late}>{late}</span> : null}
        <Downloads title={title ?? name} file={name} csv={`/api/v1/figures/data/${id}/${name}?format=csv`} element={place} shown={figure !== undefined} layout={() => (figure as PlotlyFigure | undefined)?.layout} />
      </div>
      <div className="plot">
        <div ref={place} style={{ position: 'absolute', inset: 0 }} />
        {figure ? null : last.error ? <Failure title="It cannot be drawn" error={last.error} /> : <div className="cover"><Skeleton height="86%" /></div>}
      </div>
    </section>
  );
}
