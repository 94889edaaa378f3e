import { expect, test, vi } from 'vitest';
import { patient, themed } from './plotly';

test('what Python says of the labels of hovering stays, in the colours of the page', () => {
  const label = (layout: Record<string, unknown>) => themed({ data: [], layout }, 'dark').layout.hoverlabel as Record<string, unknown>;
  const own = label({ hoverlabel: { namelength: -1, bgcolor: 'white' } });
  expect(own.namelength).toBe(-1);
  expect(own).toEqual({ ...label({}), namelength: -1 });
});

test('a figure that is left while it is drawn is purged when its drawing has ended, and not where it is drawn anew', async () => {
  const ends: (() => void)[] = [];
  const purge = vi.fn();
  const react = (): Promise<void> => new Promise((end) => { ends.push(end); });
  const module = patient({ react, extendTraces: react, purge } as unknown as Parameters<typeof patient>[0]);
  const place = {} as HTMLElement;
  const settled = (): Promise<void> => new Promise((later) => { setTimeout(later); });
  module.purge(place);
  expect(purge).toHaveBeenCalledTimes(1);
  void module.react(place, [], {}, {});
  module.purge(place);
  expect(purge).toHaveBeenCalledTimes(1);
  ends[0]!();
  await settled();
  expect(purge).toHaveBeenCalledTimes(2);
  void module.react(place, [], {}, {});
  module.purge(place);
  void module.react(place, [], {}, {});
  ends[1]!();
  await settled();
  expect(purge).toHaveBeenCalledTimes(2);
  ends[2]!();
  await settled();
  module.purge(place);
  expect(purge).toHaveBeenCalledTimes(3);
});
