/** Design tokens: the one place where widgets and plots take their colours, sizes and type from. */
import { type CSSVariablesResolver, createTheme, type MantineColorsTuple } from '@mantine/core';

export type Scheme = 'light' | 'dark';

/** One fixed colour per algorithm, light as in backend/figures/style.py. Moved from Okabe and Ito's palette until those that meet in a figure stay apart on either ground for people with any colour vision (tests/backend/test_colours.py). */
export const ALGORITHM_COLORS: Record<string, Record<Scheme, string>> = {
  copg: { light: '#0067a8', dark: '#56b4e9' },
  dpo: { light: '#b44f00', dark: '#ed7c1e' },
  ipo: { light: '#199174', dark: '#0ca96e' },
  policy_gradient: { light: '#7d59db', dark: '#9784fd' },
  reward_model: { light: '#803175', dark: '#d18fb3' },
  sft: { light: '#6d605c', dark: '#b6c4cc' },
  pg: { light: '#872353', dark: '#c975b0' },
  pg_value: { light: '#b4830a', dark: '#ecc943' },
  rloo: { light: '#3f31a9', dark: '#9685fe' },
};

export const STATE_COLORS: Record<string, Record<Scheme, string>> = {
  waiting: { light: '#646c79', dark: '#99a2b0' },
  queued: { light: '#8a5a00', dark: '#e0b341' },
  running: { light: '#0067a8', dark: '#56b4e9' },
  cancelling: { light: '#8a5a00', dark: '#e0b341' },
  succeeded: { light: '#15733f', dark: '#4cc38a' },
  failed: { light: '#b42318', dark: '#ff8177' },
  cancelled: { light: '#646c79', dark: '#99a2b0' },
};

/** The gold reward, drawn beside a learned one. */
export const GOLD: Record<Scheme, string> = { light: '#a67800', dark: '#f2c14e' };

/** The parts of a memory bar, in the order of a palette that stays apart for colour-blind eyes. */
export const PART_COLORS: Record<Scheme, readonly string[]> = {
  light: ['#0067a8', '#4f9fd6', '#1b3a5c', '#e0a100', '#d1603d', '#8c3b1f', '#9c4680', '#007a58', '#9aa3b0'],
  dark: ['#56b4e9', '#9fd3f5', '#2f6fa3', '#f2c14e', '#f0883e', '#b5562c', '#e39ac6', '#35c79a', '#6b7483'],
}; // prettier-ignore

export const SURFACES: Record<Scheme, Record<string, string>> = {
  light: {
    ground: '#f6f7f9',
    surface: '#ffffff',
    raised: '#f1f3f6',
    border: '#e2e5ea',
    'border-strong': '#c9ced6',
    text: '#171a1f',
    muted: '#59616e',
    grid: '#eaecf0',
    accent: '#0067a8',
    'accent-soft': '#e6f1f9',
    danger: '#b42318',
    'danger-soft': '#fdecea',
    good: '#15733f',
    warn: '#8a5a00',
    shadow: '0 1px 2px rgb(16 24 40 / 5%)',
  },
  dark: {
    ground: '#0e1116',
    surface: '#161a21',
    raised: '#1d222b',
    border: '#272d38',
    'border-strong': '#3a4250',
    text: '#e8eaee',
    muted: '#9aa3b0',
    grid: '#242a34',
    accent: '#56b4e9',
    'accent-soft': '#15293a',
    danger: '#ff8177',
    'danger-soft': '#331a1a',
    good: '#4cc38a',
    warn: '#e0b341',
    shadow: 'none',
  },
};

const brand: MantineColorsTuple = [
  '#e6f1f9', '#cbe2f3', '#9dcbea', '#6bb3e1', '#449fd8', '#2189c9', '#0b75b6', '#0067a8', '#005589', '#00436d',
]; // prettier-ignore

/** Mantine's own dark shades, from text to ground, in our greys. */
const dark: MantineColorsTuple = [
  '#e8eaee', '#c3c9d3', '#9aa3b0', '#6b7483', '#3a4250', '#272d38', '#1d222b', '#161a21', '#12151b', '#0e1116',
]; // prettier-ignore

export const SANS = "'Inter Variable', system-ui, -apple-system, 'Segoe UI', sans-serif";
export const MONO = "ui-monospace, 'SF Mono', 'Cascadia Mono', Menlo, Consolas, 'DejaVu Sans Mono', monospace";

export const theme = createTheme({
  primaryColor: 'brand',
  primaryShade: { light: 7, dark: 6 },
  colors: { brand, dark },
  fontFamily: SANS,
  fontFamilyMonospace: MONO,
  fontSizes: { xs: '12px', sm: '13px', md: '14px', lg: '16px', xl: '19px' },
  defaultRadius: 'md',
  radius: { xs: '3px', sm: '5px', md: '7px', lg: '11px', xl: '18px' },
  cursorType: 'pointer',
  respectReducedMotion: true,
  headings: { fontWeight: '620', sizes: { h1: { fontSize: '20px', lineHeight: '1.3' }, h2: { fontSize: '15px', lineHeight: '1.4' } } },
  components: {
    Button: { defaultProps: { size: 'sm' } },
    TextInput: { defaultProps: { size: 'sm' } },
    Select: { defaultProps: { size: 'sm', comboboxProps: { shadow: 'md' } } },
    Tooltip: { defaultProps: { withArrow: true, openDelay: 300, fz: 'xs' } },
    Menu: { defaultProps: { shadow: 'md', position: 'bottom-end' } },
    Modal: { defaultProps: { centered: true, overlayProps: { backgroundOpacity: 0.45, blur: 2 }, closeButtonProps: { 'aria-label': 'Close' } } },
    Notification: { defaultProps: { closeButtonProps: { 'aria-label': 'Dismiss' } } },
  },
});

function variables(scheme: Scheme): Record<string, string> {
  const result: Record<string, string> = {};
  for (const [name, value] of Object.entries(SURFACES[scheme])) result[`--c-${name}`] = value;
  for (const [name, value] of Object.entries(ALGORITHM_COLORS)) result[`--alg-${name}`] = value[scheme];
  for (const [name, value] of Object.entries(STATE_COLORS)) result[`--state-${name}`] = value[scheme];
  PART_COLORS[scheme].forEach((value, index) => (result[`--part-${index + 1}`] = value));
  result['--c-gold'] = GOLD[scheme];
  result['--mantine-color-body'] = SURFACES[scheme].surface!;
  result['--mantine-color-text'] = SURFACES[scheme].text!;
  result['--mantine-color-dimmed'] = SURFACES[scheme].muted!;
  result['--mantine-color-default-border'] = SURFACES[scheme].border!;
  result['--mantine-color-error'] = SURFACES[scheme].danger!;
  result['--mantine-color-placeholder'] = scheme === 'light' ? '#6b7380' : '#8790a0';
  if (scheme === 'dark') {
    result['--mantine-color-default'] = SURFACES.dark.raised!;
    result['--mantine-color-default-hover'] = '#252b36';
  }
  return result;
}

export const cssVariables: CSSVariablesResolver = () => ({
  variables: {},
  light: variables('light'),
  dark: variables('dark'),
});
