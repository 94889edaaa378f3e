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

/** A page that goes away keeps its word: what is hidden is deleted. */
addEventListener('pagehide', () => {
  if (ids.size === 0) return;
  const body = JSON.stringify({ action: 'delete', ids: [...ids], dry_run: false });
  void fetch('/api/v1/runs/bulk', { method: 'POST', keepalive: true, headers: { 'Content-Type': 'application/json', 'X-CoPG-Request': 'page' }, body });
});
