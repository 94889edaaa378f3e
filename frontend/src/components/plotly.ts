/** plotly.js, loaded by the first figure, and the page's theme put over what Python drew. */
import { ALGORITHM_COLORS, GOLD, SANS, type Scheme, SURFACES } from '../theme';

export interface Trace { [key: string]: unknown; x?: unknown; y?: unknown; meta?: { role?: string; algorithm?: string; colours?: Record<Scheme, string> } }
export interface PlotlyFigure { data: Trace[]; layout: Record<string, unknown> }
interface PlotlyModule {
  react(element: HTMLElement, data: Trace[], layout: object, config: object): Promise<unknown>;
  extendTraces(element: HTMLElement, update: { x: unknown[][]; y: unknown[][] }, indices: number[]): Promise<unknown>;
  purge(element: HTMLElement): void;
  toImage(figure: PlotlyFigure, options: object): Promise<string>;
  setPlotConfig(config: object): void;
  Plots: { resize(element: HTMLElement): void };
}

/**
 * A page may be left while its figures are drawn, in several tasks each. plotly.js would go on with a figure that was purged
 * meanwhile, and fail: so it is purged when its drawing has ended, unless it is drawn anew by then.
 */
export function patient(module: PlotlyModule): PlotlyModule {
  const drawing = new WeakMap<HTMLElement, Promise<unknown>>();
  const noted = (element: HTMLElement, drawn: Promise<unknown>): Promise<unknown> => {
    drawing.set(element, drawn);
    const ended = (): void => { if (drawing.get(element) === drawn) drawing.delete(element); };
    drawn.then(ended, ended);
    return drawn;
  };
  return {
    ...module,
    react: (element, ...given) => noted(element, module.react(element, ...given)),
    extendTraces: (element, ...given) => noted(element, module.extendTraces(element, ...given)),
    purge(element) {
      const open = drawing.get(element);
      const purge = (): void => { if (!drawing.has(element)) module.purge(element); };
      if (open) open.then(purge, purge); else purge();
    },
  };
}

let loading: Promise<PlotlyModule> | undefined;
export function plotly(): Promise<PlotlyModule> {
  loading ??= import('plotly.js-cartesian-dist-min').then((module) => {
    const loaded = ((module as { default?: unknown }).default ?? module) as PlotlyModule;
    // plotly.js 4 offers to upload charts to a cloud unless it is told not to.
    loaded.setPlotConfig({ showSendToCloud: false, plotlyServerURL: '', displaylogo: false });
    return patient(loaded);
  }).catch((error: unknown) => {
    loading = undefined; // the next figure tries again
    throw error;
  });
  return loading;
}

export const CONFIG = {
  responsive: true,
  displaylogo: false,
  showSendToCloud: false,
  displayModeBar: 'hover',
  modeBarButtonsToRemove: ['select2d', 'lasso2d', 'autoScale2d', 'zoomIn2d', 'zoomOut2d', 'pan2d', 'zoom2d'],
  toImageButtonOptions: { format: 'svg' },
};

const KINDS: Record<string, (buffer: ArrayBuffer) => ArrayLike<number>> = {
  f8: (b) => new Float64Array(b), f4: (b) => new Float32Array(b), i4: (b) => new Int32Array(b), u4: (b) => new Uint32Array(b),
  i2: (b) => new Int16Array(b), u2: (b) => new Uint16Array(b), i1: (b) => new Int8Array(b), u1: (b) => new Uint8Array(b),
}; // prettier-ignore

/** `{dtype, bdata}` as plain numbers: extendTraces appends to plain arrays only. NaN, a gap, becomes null. */
export function plain(values: unknown): unknown {
  if (typeof values !== 'object' || values === null || !('bdata' in values)) return values;
  const { dtype, bdata } = values as { dtype: string; bdata: string };
  const kind = KINDS[dtype.replace(/^[<>|=]/, '')];
  if (!kind) return values;
  const bytes = Uint8Array.from(atob(bdata), (letter) => letter.charCodeAt(0));
  return Array.from(kind(bytes.buffer), (value) => (Number.isNaN(value) ? null : value));
}

export function alpha(hex: string, share: number): string {
  const part = (at: number): number => parseInt(hex.slice(at, at + 2), 16);
  return `rgba(${part(1)},${part(3)},${part(5)},${share})`;
}

/** The alpha of a colour as Python wrote it; 1 where it has none. */
function alphaOf(colour: unknown): number {
  const found = typeof colour === 'string' ? /rgba\([^)]*,\s*([\d.]+)\)/.exec(colour) : null;
  return found ? Number(found[1]) : 1;
}

const GOLD_ROLES = ['gold', 'unfinished', 'margin'];
const NEUTRAL_ROLES = ['reference', 'other_length', 'longer', 'kl_k', 'contrast_alignment', 'log_ratio_other', 'gradient_clip', 'truncated_share', 'flop_utilisation', 'memory_total'];
const isGold = (role: string): boolean => GOLD_ROLES.some((start) => role.startsWith(start));
const isNeutral = (role: string): boolean => NEUTRAL_ROLES.some((start) => role.startsWith(start));
const isInk = (role: string): boolean => role.startsWith('optimum');

/** The unit of an axis title, `Loss (nats per pair)` -> `nats per pair`: a small figure's heading says the rest. */
export const unitOf = (title: string | undefined): string | undefined => /\(([^()]+)\)$/.exec(title ?? '')?.[1] ?? title;

/** The figure in the page's colours: fixed per algorithm and role, on a transparent ground. */
export function themed(figure: PlotlyFigure, scheme: Scheme, compact = false): PlotlyFigure {
  const surface = SURFACES[scheme];
  const data = figure.data.map((trace) => {
    const role = trace.meta?.role ?? '';
    // A colour that says something, as beta's on a scale, comes from Python for both grounds.
    const base = trace.meta?.colours?.[scheme] ?? (isGold(role) ? GOLD[scheme] : isInk(role) ? surface.text! : isNeutral(role) ? surface.muted! : (ALGORITHM_COLORS[trace.meta?.algorithm ?? '']?.[scheme] ?? surface.accent!));
    const recolour = (colour: unknown): string => (alphaOf(colour) < 1 ? alpha(base, alphaOf(colour)) : base);
    const line = (trace.line ?? {}) as Record<string, unknown>;
    const marker = (trace.marker ?? {}) as Record<string, unknown>;
    return {
      ...trace, x: plain(trace.x), y: plain(trace.y), line: { ...line, color: recolour(line.color) },
      marker: { ...marker, color: recolour(marker.color), ...(marker.line ? { line: { ...(marker.line as object), color: base } } : {}) }, ...(trace.fill ? { fillcolor: alpha(base, scheme === 'dark' ? 0.2 : 0.15) } : {}),
    };
  }); // prettier-ignore
  const given = figure.layout;
  const axis = (name: string): Record<string, unknown> => {
    const own = (given[name] ?? {}) as Record<string, unknown>;
    const title = own.title as { text?: string } | string | undefined;
    return {
      // Margins make room for every label, so none needs to be measured for whether it reaches out of the figure.
      zeroline: false, ticks: '', automargin: true, ticklabeloverflow: 'allow', ...own, gridcolor: surface.grid, linecolor: surface.border, tickfont: { color: surface.muted, size: 11 },
      title: { text: compact && name.startsWith('y') ? unitOf(typeof title === 'string' ? title : title?.text) : typeof title === 'string' ? title : title?.text, font: { color: surface.muted, size: 12 }, standoff: 8 },
      ...(name === 'xaxis' ? { showgrid: false, rangemode: own.rangemode ?? 'tozero', showline: true } : name === 'yaxis2' ? { showgrid: false } : {}),
    }; // prettier-ignore
  };
  const axes = Object.fromEntries([...new Set(['xaxis', 'yaxis', ...Object.keys(given).filter((key) => /^[xy]axis\d*$/.test(key))])].map((key) => [key, axis(key)]));
  return {
    data,
    layout: {
      ...given, ...axes, template: {}, title: undefined, autosize: true, width: undefined, height: undefined, uirevision: given.uirevision ?? 'kept', margin: given.margin ?? { l: 52, r: axes.yaxis2 ? 52 : 12, t: 10, b: 40 },
      paper_bgcolor: 'rgba(0,0,0,0)', plot_bgcolor: 'rgba(0,0,0,0)', font: { family: SANS, color: surface.text, size: 12 }, hovermode: given.hovermode ?? 'x unified',
      hoverlabel: { ...(given.hoverlabel as object | undefined), bgcolor: surface.surface, bordercolor: surface['border-strong'], font: { family: SANS, color: surface.text, size: 12 } },
      legend: { orientation: 'h', y: 1.02, yanchor: 'bottom', x: 0, xanchor: 'left', font: { size: 12, color: surface.muted }, bgcolor: 'rgba(0,0,0,0)' },
      modebar: { bgcolor: 'rgba(0,0,0,0)', color: surface.muted, activecolor: surface.accent, orientation: 'h' },
    },
  }; // prettier-ignore
}
