declare module 'plotly.js-cartesian-dist-min';
interface Window {
  /** The last drawing of a figure, for tests that measure how long a point takes from its record to the screen. */
  __copg_drawn?: { figure: string; cursor: string; at: number };
}
