import { notifications, notificationsStore } from '@mantine/notifications';
import { afterEach, expect, test, vi } from 'vitest';
import { copy } from './copying';

/** A page whose browser copies what is selected, or does not. */
function page(clipboard: object | undefined, copies: boolean) {
  const seen: string[] = [];
  let selected = '';
  const area = { value: '', style: {}, setAttribute: () => undefined, select: () => { selected = area.value; }, remove: () => seen.push('removed') };
  const place = (name: string) => ({ append: () => seen.push(name) });
  vi.stubGlobal('navigator', { clipboard });
  vi.stubGlobal('document', {
    activeElement: { closest: () => place('dialog'), focus: () => seen.push('focus back') }, body: place('body'), createElement: () => area,
    execCommand: () => { seen.push(copies ? selected : 'refused'); return copies; },
  }); // prettier-ignore
  return seen;
}
const said = () => notificationsStore.getState().notifications.map((one) => one.id);
afterEach(() => { vi.unstubAllGlobals(); notifications.clean(); });

test('the clipboard takes it where there is one', async () => {
  const writeText = vi.fn(() => Promise.resolve());
  const seen = page({ writeText }, true);
  const done = vi.fn();
  await copy('text', done);
  expect([writeText.mock.calls, seen, done.mock.calls.length]).toEqual([[['text']], [], 1]);
});

test.each([['there is none', undefined], ['it refuses', { writeText: () => Promise.reject(new Error('not allowed')) }]])('it is selected in the dialog that has the focus where %s', async (_where, clipboard) => {
  const seen = page(clipboard, true);
  const done = vi.fn();
  await copy('text', done);
  expect([seen, done.mock.calls.length, said()]).toEqual([['dialog', 'text', 'removed', 'focus back'], 1, []]);
});

test('a browser that copies nothing is not taken for one that has', async () => {
  page(undefined, false);
  const done = vi.fn();
  await copy('text', done);
  expect([done.mock.calls.length, said()]).toEqual([0, ['not-copied']]);
});
