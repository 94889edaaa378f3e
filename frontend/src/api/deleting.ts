/** What somebody has deleted a moment ago: no list shows it, and until its time is up nothing has left the server. */
import { useCallback, useSyncExternalStore } from 'react';

export interface Deletion {
  /** What lists leave out meanwhile. */
  ids: readonly string[];
  /** Delete it, and see to it that no cached list has it any more. */
  perform: () => Promise<unknown>;
  /** Delete it from a page that goes away, which hears no answer. */
  leave: () => void;
}

const waiting = new Set<Deletion>(); // the last deletion last
const sent = new Set<Deletion>();
const listeners = new Set<() => void>();
let hidden: ReadonlySet<string> = new Set();

function tell(): void {
  hidden = new Set([...waiting, ...sent].flatMap((one) => one.ids));
  listeners.forEach((listener) => listener());
}

/** Hide it. False, and nothing happens, where some of it is being deleted already. */
export function begin(deletion: Deletion): boolean {
  if (deletion.ids.some((id) => hidden.has(id))) return false;
  waiting.add(deletion);
  tell();
  return true;
}

/** Show it again. False where its time is up. */
export function takeBack(deletion: Deletion): boolean {
  if (!waiting.delete(deletion)) return false;
  tell();
  return true;
}

/** Its time is up. Where the server refuses, it is shown again and the refusal is thrown. */
export async function finish(deletion: Deletion): Promise<void> {
  if (!waiting.delete(deletion)) return;
  sent.add(deletion);
  try {
    await deletion.perform();
  } finally {
    sent.delete(deletion);
    tell();
  }
}

/** A page that goes away keeps its word: what is hidden is deleted, and stays hidden should the browser bring the page back. */
export function leaveAll(): void {
  const all = [...waiting, ...sent];
  for (const deletion of waiting) sent.add(deletion);
  waiting.clear();
  all.forEach((deletion) => deletion.leave());
}

/** Send a request that outlives the page, if the browser takes it: what is under way of such requests may have 64 kB in all. */
export function sendOff(method: 'DELETE' | 'POST', path: string, body?: unknown): void {
  void fetch(path, { method, keepalive: true, headers: { 'Content-Type': 'application/json', 'X-CoPG-Request': 'page' }, body: body === undefined ? undefined : JSON.stringify(body) }).catch(() => undefined);
}

const listen = (listener: () => void): (() => void) => { listeners.add(listener); return () => listeners.delete(listener); };
export const useDeleting = (): ReadonlySet<string> => useSyncExternalStore(listen, () => hidden);

/** Leaves out of a list what goes by one of its `names` and is being deleted. */
export function useKept() {
  const deleting = useDeleting();
  return useCallback(<T,>(list: readonly T[], names: (one: T) => readonly (string | null | undefined)[]): T[] =>
    deleting.size ? list.filter((one) => !names(one).some((name) => name && deleting.has(name))) : (list as T[]), [deleting]); // prettier-ignore
}
