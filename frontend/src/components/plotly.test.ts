import { expect, test } from 'vitest';
import { themed } from './plotly';

test('what Python says of the labels of hovering stays, in the colours of the page', () => {
  const label = (layout: Record<string, unknown>) => themed({ data: [], layout }, 'dark').layout.hoverlabel as Record<string, unknown>;
  const own = label({ hoverlabel: { namelength: -1, bgcolor: 'white' } });
  expect(own.namelength).toBe(-1);
  expect(own).toEqual({ ...label({}), namelength: -1 });
});
