import { expect, test, vi } from 'vitest';
import { type FeedMessage, openFeed } from './source';

class Source {
  static last: Source;
  static CLOSED = 2;
  readyState = 1;
  onerror: () => void = () => undefined;
  readonly on = new Map<string, (event: { data: string }) => void>();
  constructor() { Source.last = this; }
  addEventListener(name: string, listener: (event: { data: string }) => void): void { this.on.set(name, listener); }
  say(name: string, what: unknown): void { this.on.get(name)?.({ data: JSON.stringify(what) }); }
  close(): void { this.readyState = Source.CLOSED; }
}

test('it counts as open once the server has greeted, and a later greeting says what may have been missed', () => {
  vi.stubGlobal('EventSource', Source);
  const told: FeedMessage[] = [];
  const close = openFeed((message) => told.push(message));
  const source = Source.last;
  source.say('open', {});
  expect(told).toEqual([]);
  source.say('hello', { version: '1', quiet_seconds: 2.5 });
  expect(told.splice(0)).toEqual([{ kind: 'status', connected: true, quiet: 2500 }]);
  source.onerror();
  source.say('hello', { version: '1', quiet_seconds: 0 });
  expect(told).toEqual([{ kind: 'status', connected: false }, { kind: 'status', connected: true, quiet: 0 }, { kind: 'resync' }]);
  close();
  vi.unstubAllGlobals();
});
