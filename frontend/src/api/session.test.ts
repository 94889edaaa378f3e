import { expect, test, vi } from 'vitest';
import { api } from './client';
import { begin } from './deleting';
import { logOut, placeAfter } from './session';

const here = 'http://127.0.0.1:8000/login?next=x';

test('one comes back to where one was', () => {
  expect(placeAfter('/runs/abc/log?x=1#end', here)).toBe('/runs/abc/log?x=1#end');
  expect(placeAfter(null, here)).toBe('/');
});

test.each(['https://evil.example/', '//evil.example/x', '/\\evil.example', 'javascript:alert(1)', 'http://127.0.0.1:9000/', 'http://[', '/login?next=/login'])('a link leads nowhere else: %s', (next) => {
  expect(placeAfter(next, here)).toBe('/');
});

test('what waits to be deleted goes before whoever may delete it', async () => {
  const told: string[] = [];
  vi.spyOn(api, 'DELETE').mockImplementation((async (path: string) => { told.push(path); return {}; }) as never);
  vi.stubGlobal('location', { assign: (path: string) => told.push(path) });
  const perform = async (): Promise<void> => { await new Promise((later) => setTimeout(later, 5)); told.push('deleted'); };
  begin({ ids: ['a'], perform, leave: () => told.push('left') });
  await logOut();
  expect(told).toEqual(['deleted', '/api/v1/session', '/login']);
  vi.unstubAllGlobals();
});
