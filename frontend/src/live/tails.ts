/** A figure that is held, and how its curves go on: only what is new travels. */
import type { FigureOut, FigureTails } from '../api/client';
import { plain, type PlotlyFigure } from '../components/plotly';

/** The figure as the server has it now. Traces that did not change stay the same objects. */
export function withTails(held: FigureOut, tails: FigureTails): FigureOut {
  const figure = held.figure as unknown as PlotlyFigure;
  const data = figure.data.map((trace, place) => {
    const tail = tails.traces[place];
    if (!tail) return trace;
    const grown = Object.entries(tail.arrays).map(([name, array]) => [name, [...(plain(trace[name]) as unknown[]).slice(0, tail.start), ...array]]);
    return { ...trace, ...Object.fromEntries(grown) };
  });
  const empty = !data.some((trace) => Array.isArray(trace.y) && trace.y.some((value: unknown) => value !== null));
  return { ...held, figure: { ...figure, data } as unknown as FigureOut['figure'], cursor: tails.cursor, empty };
}

/** Ask for what is new since `held`; for the whole figure where there is nothing to go on from, or too much has changed. */
export async function refreshed(held: FigureOut | undefined, ends: (after: string) => Promise<FigureTails>, whole: () => Promise<FigureOut>): Promise<FigureOut> {
  if (!held || held.empty) return whole();
  const tails = await ends(held.cursor);
  if (tails.reset) return whole();
  return isOld(held, tails) ? held : withTails(held, tails);
}

/** Whether the ends are those that are held. The cursor does not tell: a last point may have changed. */
function isOld(held: FigureOut, tails: FigureTails): boolean {
  const { data } = held.figure as unknown as PlotlyFigure;
  return tails.cursor === held.cursor && tails.traces.every((tail, place) =>
    Object.entries(tail.arrays).every(([name, array]) => JSON.stringify(array) === JSON.stringify((plain(data[place]?.[name]) as unknown[]).slice(tail.start))));
}
