/** What somebody has deleted a moment ago: no list shows it, and until its time is up nothing has left the server. */
import { useCallback, useEffect, useState, useSyncExternalStore } from 'react';
import { ApiError, messageOf } from './client';

export interface Deletion {
  /** What lists leave out meanwhile. */
  ids: readonly string[];
  /** Delete it, and see to it that no cached list has it any more. */
  perform: () => Promise<unknown>;
  /** Delete it from a page that goes away, which hears no answer. */
  leave: () => void;
}

const waiting = new Map<Deletion, () => void>(); // with what closes its notice, by which its time is up
const sent = new Map<Deletion, Promise<void>>(); // with the answer
const listeners = new Set<() => void>();
let hidden: ReadonlySet<string> = new Set();

function tell(): void {
  hidden = new Set([...waiting.keys(), ...sent.keys()].flatMap((one) => one.ids));
  listeners.forEach((listener) => listener());
}

/** Hide it. False, and nothing happens, where some of it is being deleted already. Whoever shows a notice of it says how to `close` that. */
export function begin(deletion: Deletion, close: () => void = () => void finish(deletion).catch(() => undefined)): boolean {
  if (deletion.ids.some((id) => hidden.has(id))) return false;
  waiting.set(deletion, close);
  tell();
  return true;
}

/** Show it again. False where its time is up. */
export function takeBack(deletion: Deletion): boolean {
  if (!waiting.delete(deletion)) return false;
  tell();
  return true;
}

/** Show again what goes by this name, and close its notice. False where nothing of that name waits to be deleted. */
export function takeBackId(id: string): boolean {
  const found = [...waiting].find(([one]) => one.ids.includes(id));
  if (!found || !takeBack(found[0])) return false;
  found[1]();
  return true;
}

/** Its time is up. Where the server refuses, it is shown again and the refusal is thrown. */
export function finish(deletion: Deletion): Promise<void> {
  if (!waiting.delete(deletion)) return Promise.resolve();
  const answer = deletion.perform().then(() => undefined).finally(() => {
    sent.delete(deletion);
    tell();
  });
  sent.set(deletion, answer);
  return answer;
}

/** The time of what goes by this name is up, or of everything. Ends when the server has answered; whether it refused is told by whoever deletes. */
export async function finishNow(id?: string): Promise<void> {
  const meant = ([one]: [Deletion, unknown]): boolean => id === undefined || one.ids.includes(id);
  [...waiting].filter(meant).forEach(([, close]) => close());
  await Promise.allSettled([...sent].filter(meant).map(([, answer]) => answer));
}

export const someWait = (): boolean => waiting.size > 0;
export const isWaiting = (deletion: Deletion): boolean => waiting.has(deletion);
export const isDeleting = (id: string): boolean => hidden.has(id);

/** Why the server would not delete. It still counts what no list shows any more, which explains a reason that nobody can see. */
export function refusalOf(error: unknown): string {
  const why = messageOf(error);
  const unasked = error instanceof ApiError && error.problem.status !== 409;
  return waiting.size && !unasked ? `${why}${/[.!?]$/.test(why) ? '' : '.'} What was deleted a moment ago still counts until its notice is closed.` : why;
}

/** A page that goes away keeps its word: what is hidden is deleted, and stays hidden should the browser bring the page back. */
export function leaveAll(): void {
  const all = [...waiting.keys(), ...sent.keys()];
  for (const deletion of waiting.keys()) sent.set(deletion, Promise.resolve());
  waiting.clear();
  all.forEach((deletion) => deletion.leave());
}

/** Send a request that outlives the page, if the browser takes it: what is under way of such requests may have 64 kB in all. */
export function sendOff(method: 'DELETE' | 'POST', path: string, body?: unknown): void {
  void fetch(path, { method, keepalive: true, headers: { 'Content-Type': 'application/json', 'X-CoPG-Request': 'page' }, body: body === undefined ? undefined : JSON.stringify(body) }).catch(() => undefined);
}

const listen = (listener: () => void): (() => void) => { listeners.add(listener); return () => listeners.delete(listener); };
export const useDeleting = (): ReadonlySet<string> => useSyncExternalStore(listen, () => hidden);

const LEAVING_MS = 2_000;

/** Whether a page shows what waited to be deleted, under one of these names, when it was opened. One that was just asked for its deletion
 * is being left, and does not change for that moment; one where somebody stays does. */
export function useOpenedLate(names: readonly string[]): boolean {
  const deleting = useDeleting();
  const key = names.join();
  const waits = names.some((name) => deleting.has(name));
  const [opened, setOpened] = useState({ key, late: waits });
  const seen = opened.key === key ? opened : { key, late: waits };
  if (seen !== opened || (seen.late && !waits)) setOpened({ key, late: seen.late && waits });
  const stays = waits && !seen.late;
  useEffect(() => {
    if (!stays) return undefined;
    const timer = setTimeout(() => setOpened({ key, late: true }), LEAVING_MS);
    return () => clearTimeout(timer);
  }, [stays, key]);
  return seen.late && waits;
}

/** Leaves out of a list what goes by one of its `names` and is being deleted. */
export function useKept() {
  const deleting = useDeleting();
  return useCallback(<T,>(list: readonly T[], names: (one: T) => readonly (string | null | undefined)[]): T[] =>
    deleting.size ? list.filter((one) => !names(one).some((name) => name && deleting.has(name))) : (list as T[]), [deleting]); // prettier-ignore
}
