/** What a page keeps in its address: filters, sorting, what is shown. A link to it, or a reload, shows the same. */
import { useCallback } from 'react';
import { useSearchParams } from 'react-router';

type Changes = Readonly<Record<string, string | readonly string[] | null>>;

/** `query` with `changes`: nothing, or an empty text, takes a key away; a list is the key several times. */
export function changed(query: URLSearchParams, changes: Changes): URLSearchParams {
  const next = new URLSearchParams(query);
  for (const [key, value] of Object.entries(changes)) {
    if (typeof value === 'string' && value) { next.set(key, value); continue; }
    next.delete(key);
    if (Array.isArray(value)) for (const one of value as string[]) next.append(key, one);
  }
  return next;
}

/**
 * The query of the address, and a function that changes it in its place in the history.
 *
 * With the address the page is drawn, in one step (`flushSync`). The router's way is a transition: until it is over a
 * switch shows its old side, and a click on it there, which takes the change back, is no change at all and is lost.
 */
export function useAddress(): [URLSearchParams, (changes: Changes) => void] {
  const [query, setQuery] = useSearchParams();
  return [query, useCallback((changes) => setQuery((before) => changed(before, changes), { replace: true, flushSync: true }), [setQuery])];
}
