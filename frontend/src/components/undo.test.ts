import { notifications, notificationsStore } from '@mantine/notifications';
import type { ReactElement } from 'react';
import { afterEach, expect, test, vi } from 'vitest';
import { api } from '../api/client';
import { isDeleting } from '../api/deleting';

vi.stubGlobal('addEventListener', () => undefined); // of a page that goes away
const { deleteSoon, passFocus } = await import('./undo');
const { keep } = await import('./SavedViews');
const { fateOf, outcomeOf } = await import('../pages/data/jobs');

const shown = () => notificationsStore.getState().notifications;
const said = (): unknown[] => shown().map((one) => one.message).filter((message) => typeof message === 'string');
const undoOf = (id: string): (() => void) => (shown().find((one) => one.id === `delete-${id}`)!.message as ReactElement<{ undo: () => void }>).props.undo;
const deletion = (id: string, perform = vi.fn(() => Promise.resolve())) => ({ ids: [id], perform, leave: () => undefined });
afterEach(() => notifications.clean());

test('a click that comes too late says so, and one too many says nothing', async () => {
  deleteSoon('first', deletion('a'));
  const early = undoOf('a');
  early();
  early();
  expect(said()).toEqual(['Taken back: first']);
  notifications.clean();
  const perform = vi.fn(() => Promise.resolve());
  deleteSoon('second', deletion('b', perform));
  const late = undoOf('b');
  notifications.hide('delete-b'); // its time is up
  late();
  expect(said()).toEqual(['Too late: second is being deleted']);
  await vi.waitFor(() => expect(isDeleting('b')).toBe(false));
  late(); // still fading
  expect(perform).toHaveBeenCalledOnce();
});

test('a data set that is uploaded again is not deleted, and its notice goes', async () => {
  const done = { id: 'set', name: 'pairs.jsonl', existing: true } as Parameters<typeof fateOf>[0];
  expect(outcomeOf(done, fateOf(done))).toBe('The same content is here already, as “pairs.jsonl”: nothing was added.');
  const perform = vi.fn(() => Promise.resolve());
  deleteSoon('pairs.jsonl', deletion('set', perform));
  expect(fateOf({ ...done, existing: false })).toBeUndefined();
  expect(outcomeOf(done, fateOf(done))).toBe('The same content is here already, as “pairs.jsonl”: nothing was added, and it is not deleted.');
  expect([shown(), isDeleting('set'), perform.mock.calls]).toEqual([[], false, []]);
  deleteSoon('pairs.jsonl', deletion('set', perform));
  notifications.hide('delete-set');
  expect(outcomeOf(done, fateOf(done))).toContain('is just being deleted');
  await vi.waitFor(() => expect(isDeleting('set')).toBe(false));
});

test('a view is replaced: what was forgotten goes before another has its name', async () => {
  const told: string[] = [];
  vi.spyOn(api, 'POST').mockImplementation((async () => { told.push('kept'); return {}; }) as never);
  const views = ['Mine', 'Other'].map((name) => ({ id: name, name, address: '/runs', created_at: '', created_by: '' }));
  for (const { id } of views) deleteSoon(id, deletion(id, vi.fn(async () => { await new Promise((later) => setTimeout(later, 5)); told.push(id); })));
  await keep('Mine', '/compare', views);
  expect(told).toEqual(['Mine', 'kept']);
  expect(shown().map((one) => one.id)).toEqual(['delete-Other']);
});

test('the focus goes to the next row, or the one before, or what holds them', () => {
  const holder = { focus: vi.fn() } as unknown as HTMLElement;
  const row = (focus: (() => void) | null) => ({ querySelector: () => focus && { focus } });
  const [next, before] = [vi.fn(), vi.fn()];
  passFocus({ nextElementSibling: row(next), previousElementSibling: row(before) } as unknown as Element, holder);
  passFocus({ nextElementSibling: null, previousElementSibling: row(before) } as unknown as Element, holder);
  passFocus({ nextElementSibling: null, previousElementSibling: null } as unknown as Element, holder);
  expect([next, before, holder.focus as ReturnType<typeof vi.fn>].map((one) => one.mock.calls.length)).toEqual([1, 1, 1]);
});
