import { notifications, notificationsStore } from '@mantine/notifications';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { api, stayHere } from '../api/client';
import { another, hold, isLost } from './unsaved';

const asking = new Set<unknown>();
const sentTo = vi.fn();
const at = (address: string) => { const { pathname, search } = new URL(address, 'http://here'); return { pathname, search }; };
const shown = () => notificationsStore.getState().notifications.map((one) => one.id);
const refuse = (): Promise<Response> => Promise.resolve(new Response('{"status": 401}', { status: 401, headers: { 'Content-Type': 'application/problem+json' } }));
const refused = (): Promise<unknown> => api.GET('/api/v1/session', { baseUrl: 'http://here', fetch: refuse }).catch((error: unknown) => error);

beforeEach(() => {
  vi.stubGlobal('addEventListener', (_name: string, ask: unknown) => asking.add(ask));
  vi.stubGlobal('removeEventListener', (_name: string, ask: unknown) => asking.delete(ask));
  vi.stubGlobal('location', { pathname: '/runs/a', search: '?x=1', hash: '', assign: sentTo });
});
afterEach(() => { vi.unstubAllGlobals(); sentTo.mockClear(); notifications.clean(); });

test('tabs of a thing and what a page keeps in its query are no other page', () => {
  expect([another(at('/runs/a'), at('/runs/a/log?x=1')), another(at('/launch'), at('/launch?mode=sweep'))]).toEqual([false, false]);
  expect([another(at('/runs/a/log'), at('/runs/b/log')), another(at('/launch'), at('/runs'))]).toEqual([true, true]);
});

test('what is held is asked about until it is let go, and only by whom it concerns', () => {
  const form = hold(another);
  const upload = hold(() => false); // goes on on every page
  expect([isLost(at('/launch'), at('/runs')), asking.size]).toEqual([true, 1]);
  form();
  form();
  expect([isLost(at('/launch'), at('/runs')), asking.size]).toEqual([false, 1]);
  upload();
  expect(asking.size).toBe(0);
});

test('a lost login leaves what is not saved where it is, says so once, and leads away afterwards', async () => {
  const end = hold(another);
  await refused();
  await refused();
  expect([shown(), sentTo.mock.calls]).toEqual([['logged-out'], []]);
  end();
  expect(shown()).toEqual([]);
  await refused();
  expect(sentTo.mock.calls).toEqual([['/login?next=%2Fruns%2Fa%3Fx%3D1']]);
});

test('what is shown once stays, too, and nothing is said over it', async () => {
  const end = stayHere();
  await refused();
  expect([shown(), sentTo.mock.calls]).toEqual([[], []]);
  end();
});
