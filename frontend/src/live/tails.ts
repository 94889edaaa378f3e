/** A figure that is held, and how its curves go on: only what is new travels. */
import type { FigureOut, FigureTails } from '../api/client';
import type { PlotlyFigure } from '../components/plotly';

/** The figure as the server has it now. */
function withTails(held: FigureOut, tails: FigureTails): FigureOut {
  const figure = held.figure as unknown as PlotlyFigure;
  const data = figure.data.map((trace, place) => {
    const { start, arrays } = tails.traces[place]!;
    const grown = Object.entries(arrays).map(([name, array]) => [name, [...(trace[name] as unknown[]).slice(0, start), ...array]]);
    return { ...trace, ...Object.fromEntries(grown) };
  });
  return { ...held, figure: { ...figure, data } as unknown as FigureOut['figure'], cursor: tails.cursor };
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
    Object.entries(tail.arrays).every(([name, array]) => JSON.stringify(array) === JSON.stringify((data[place]![name] as unknown[]).slice(tail.start))));
}
