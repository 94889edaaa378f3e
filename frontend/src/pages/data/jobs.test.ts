import { notifications, notificationsStore } from '@mantine/notifications';
import type { QueryClient } from '@tanstack/react-query';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { Upload } from '../../api/client';
import { isLost } from '../../components/unsaved';
import { away, type Job, leaveDone, seen, upload } from './jobs';

const sent: { told: (share: number) => void; done: (made: Upload) => void; failed: (error: Error) => void; stop: ReturnType<typeof vi.fn> }[] = [];
vi.mock('./upload', () => ({
  send: (_file: File, told: (share: number) => void) => {
    const stop = vi.fn();
    const promise = new Promise<Upload>((done, failed) => sent.push({ told, done, failed, stop: stop.mockImplementation(() => failed(new Error('Stopped'))) }));
    return { promise, stop };
  },
}));
const client = { invalidateQueries: vi.fn() } as unknown as QueryClient;
const asking = new Set<unknown>();
const file = (name: string, size = 10) => ({ name, size }) as File;
const states = () => seen().jobs.map((one: Job) => [one.name, one.error ?? (one.done ? 'done' : one.share)]);
const told = () => notificationsStore.getState().notifications.map((one) => one.message);
const later = () => new Promise((soon) => setTimeout(soon));
beforeEach(() => {
  vi.stubGlobal('addEventListener', (_name: string, ask: unknown) => asking.add(ask));
  vi.stubGlobal('removeEventListener', (_name: string, ask: unknown) => asking.delete(ask));
});
afterEach(() => { seen().jobs.forEach(away); sent.length = 0; notifications.clean(); vi.unstubAllGlobals(); });

test('a file goes on while another page is shown, and the browser asks before all of them are left', async () => {
  upload([file('a.jsonl'), file('b.jsonl')], undefined, client);
  sent[0]!.told(0.5);
  expect([states(), asking.size, isLost({ pathname: '/data', search: '' }, { pathname: '/runs', search: '' })]).toEqual([[['b.jsonl', 0], ['a.jsonl', 0.5]], 1, false]);
  sent[0]!.done({ id: 'a', name: 'a.jsonl', existing: false } as Upload);
  sent[1]!.failed(new Error('The connection broke.'));
  await later();
  expect([states(), asking.size]).toEqual([[['b.jsonl', 'The connection broke.'], ['a.jsonl', 'done']], 0]);
  expect(told()).toEqual(['a.jsonl: Uploaded. It is being analysed.', 'b.jsonl: The connection broke.']); // nobody looks at the list
  leaveDone();
  expect(states()).toEqual([['b.jsonl', 'The connection broke.']]);
});

test('what is stopped is gone, and no failure', async () => {
  upload([file('a.jsonl')], undefined, client);
  away(seen().jobs[0]!);
  await later();
  expect([sent[0]!.stop.mock.calls.length, states(), told(), asking.size]).toEqual([1, [], [], 0]);
});

test('what is too large is not sent', () => {
  upload([file('a.jsonl', 2000)], 1000, client);
  expect([sent.length, asking.size]).toEqual([0, 0]);
  expect(seen().jobs[0]!.error).toContain('compress or split it');
});
