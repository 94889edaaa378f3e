/** Runs that somebody has deleted a moment ago: no list shows them, and until their time is up nothing has left the server. */
import { useSyncExternalStore } from 'react';

let ids: ReadonlySet<string> = new Set();
const listeners = new Set<() => void>();

function change(next: ReadonlySet<string>): void {
  ids = next;
  listeners.forEach((listener) => listener());
}

export const hide = (runs: readonly string[]): void => change(new Set([...ids, ...runs]));
export const show = (runs: readonly string[]): void => change(new Set([...ids].filter((id) => !runs.includes(id))));

export function useDeleting(): ReadonlySet<string> {
  return useSyncExternalStore((listener) => { listeners.add(listener); return () => listeners.delete(listener); }, () => ids);
}

/** As many as the API takes; browsers let a page that goes away send 64 kB, which is about 1,800 runs. */
export const MOST_AT_ONCE = 1000;

/** A page that goes away keeps its word: what is hidden is deleted. */
addEventListener('pagehide', () => {
  const all = [...ids];
  for (let begin = 0; begin < all.length; begin += MOST_AT_ONCE) {
    const body = JSON.stringify({ action: 'delete', ids: all.slice(begin, begin + MOST_AT_ONCE), dry_run: false });
    void fetch('/api/v1/runs/bulk', { method: 'POST', keepalive: true, headers: { 'Content-Type': 'application/json', 'X-CoPG-Request': 'page' }, body });
  }
});
