/** A figure to take away: its numbers as CSV from the server, and as a picture in light colours on white, whatever the page's. */
import type { RefObject } from 'react';
import { Offers } from './offers';
import { plotly, type PlotlyFigure, themed } from './plotly';

interface Props { title: string; file: string; csv: string; element: RefObject<HTMLDivElement | null>; shown: boolean; layout(): Record<string, unknown> | undefined }
const FORMATS = ['svg', 'png'] as const;
const SIZE = { width: 900, height: 506, scale: 2 };
const LINE = 22, LETTER = 7; // px of a legend's line and of a letter in it, about: as in backend/figure_images.py

export function Downloads({ title, file, csv, element, shown, layout }: Props) {
  const draw = async (format: (typeof FORMATS)[number]): Promise<void> => {
    const drawn = (element.current as { data?: PlotlyFigure['data'] } | null)?.data; // with the points that came since
    const given = layout();
    if (!drawn || !given) return;
    const { toImage } = await plotly();
    const figure = themed({ data: drawn, layout: given }, 'light');
    // A picture has no fonts of the page: text that was measured in one and shown in another would overlap.
    const font = { ...(figure.layout.font as object), family: 'Arial, Helvetica, sans-serif' };
    const names = drawn.filter((trace) => trace.showlegend !== false && trace.visible !== false).map((trace) => String(trace.name ?? ''));
    const lines = Math.ceil(names.reduce((sum, name) => sum + 60 + LETTER * name.length, 0) / (0.65 * SIZE.width));
    const height = (given.height as number | undefined) ?? SIZE.height + LINE * Math.max(0, lines - 2);
    const legend = { ...(figure.layout.legend as object), maxheight: 0.8 }; // a picture does not scroll
    const url = await toImage({ data: figure.data, layout: { ...figure.layout, legend, font, paper_bgcolor: '#ffffff', plot_bgcolor: '#ffffff' } }, { format, ...SIZE, height });
    Object.assign(document.createElement('a'), { href: url, download: `${file}.${format}` }).click();
  };
  const offers = [
    { id: `${file} csv`, label: `${title} as CSV`, rare: true, act: () => Object.assign(document.createElement('a'), { href: csv, download: '' }).click() },
    ...(shown ? FORMATS.map((format) => ({ id: `${file} ${format}`, label: `${title} as ${format.toUpperCase()}`, rare: true, act: () => void draw(format) })) : []),
  ];
  return (
    <span className="push downloads">
      <Offers group="Download" offers={offers} />
      <a href={csv} download aria-label={`${title} as CSV`}>CSV</a>
      {FORMATS.map((format) => <button key={format} type="button" disabled={!shown} aria-label={`${title} as ${format.toUpperCase()}`} onClick={() => void draw(format)}>{format.toUpperCase()}</button>)}
    </span>
  );
}
