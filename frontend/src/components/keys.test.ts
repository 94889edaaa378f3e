import { afterEach, expect, test, vi } from 'vitest';
import { isCommand, keysAreOn, switchKeys } from './keys';

const plain = { ctrlKey: false, metaKey: false, altKey: false, isComposing: false, defaultPrevented: false, target: null };
afterEach(() => vi.unstubAllGlobals());

test('single keys are commands until they are switched off', () => {
  const kept = new Map<string, string>();
  vi.stubGlobal('document', { querySelector: () => null });
  vi.stubGlobal('localStorage', { getItem: (name: string) => kept.get(name) ?? null, setItem: (name: string, value: string) => kept.set(name, value), removeItem: (name: string) => kept.delete(name) });
  expect([isCommand(plain), isCommand({ ...plain, ctrlKey: true })]).toEqual([true, false]);
  switchKeys(false);
  expect([keysAreOn(), isCommand(plain)]).toEqual([false, false]);
  switchKeys(true);
  expect([keysAreOn(), isCommand(plain)]).toEqual([true, true]);
});

test('where nothing can be kept, they stay on', () => {
  const closed = (): never => { throw new Error('SecurityError'); };
  vi.stubGlobal('localStorage', { getItem: closed, setItem: closed, removeItem: closed });
  switchKeys(false);
  expect(keysAreOn()).toBe(true);
});
