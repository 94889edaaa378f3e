/** A figure of a data set: drawn once, by the function of the server that also makes its CSV. */
import { Skeleton, useComputedColorScheme } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useEffect, useRef } from 'react';
import { api, data } from '../../api/client';
import { Downloads } from '../../components/Downloads';
import { Failure } from '../../components/parts';
import { CONFIG, plotly, type PlotlyFigure, themed } from '../../components/plotly';
import type { Scheme } from '../../theme';

export function DataFigure({ id, name, version }: { id: string; name: string; version: string }) {
  const place = useRef<HTMLDivElement>(null);
  const scheme = useComputedColorScheme('light') as Scheme;
  const path = { dataset_id: id, figure: name as never };
  const answer = useQuery({ queryKey: ['dataset', id, 'figure', name, version], staleTime: Infinity, queryFn: () => data(api.GET('/api/v1/figures/data/{dataset_id}/{figure}', { params: { path } })) as Promise<{ title: string; figure: unknown }> });
  const figure = answer.data?.figure;
  useEffect(() => {
    const element = place.current;
    if (!element || !figure) return;
    const drawn = themed(figure as PlotlyFigure, scheme, true);
    void plotly().then(({ react }) => react(element, drawn.data, drawn.layout, CONFIG));
  }, [figure, scheme]);
  useEffect(() => { const element = place.current; return () => { if (element) void plotly().then(({ purge }) => purge(element)); }; }, []);
  return (
    <section className="panel figure" aria-label={answer.data?.title ?? 'Figure'} data-testid={`figure-${name}`} data-status={answer.isSuccess ? 'shown' : 'loading'}>
      <div style={{ display: 'flex', alignItems: 'baseline', gap: 10 }}>
        <h2>{answer.data?.title ?? <span className="muted">…</span>}</h2>
        <Downloads title={answer.data?.title ?? name} file={name} csv={`/api/v1/figures/data/${id}/${name}?format=csv`} element={place} shown={answer.isSuccess} layout={() => (figure as PlotlyFigure | undefined)?.layout} />
      </div>
      <div className="plot">
        <div ref={place} style={{ position: 'absolute', inset: 0 }} />
        {answer.isError ? <Failure title="It cannot be drawn" error={answer.error} /> : !answer.data && <div className="cover"><Skeleton height="86%" /></div>}
      </div>
    </section>
  );
}
