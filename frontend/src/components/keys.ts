/** Single keys of a page. Whoever types into a field, or has a dialog open, means the text and never the page. */
import { useEffect, useRef } from 'react';

const TYPED_INTO = 'textarea, select, [contenteditable=true], [role=textbox], [role=combobox], input:not([type=checkbox], [type=radio])';

const SWITCH = 'copg-single-keys';

/** Whether single keys do anything. Whoever speaks to the computer, or hits keys by chance, can do without (WCAG 2.1.4). */
export function keysAreOn(): boolean {
  try { return localStorage.getItem(SWITCH) !== 'off'; } catch { return true; }
}

export function switchKeys(on: boolean): void {
  try { if (on) localStorage.removeItem(SWITCH); else localStorage.setItem(SWITCH, 'off'); } catch { /* nothing can be kept here */ }
}

/** Whether a key that was pressed here may be a command of the page. */
export function isCommand(event: Pick<KeyboardEvent, 'ctrlKey' | 'metaKey' | 'altKey' | 'isComposing' | 'defaultPrevented' | 'target'>): boolean {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || event.defaultPrevented) return false;
  if (!keysAreOn()) return false;
  const target = event.target as Element | null;
  return !target?.closest?.(`${TYPED_INTO}, [role=dialog], [role=menu]`) && document.querySelector('[role=dialog]') === null;
}

/** Call what stands under the key while the component is there. */
export function useKeys(keys: Record<string, (() => void) | undefined>): void {
  const now = useRef(keys);
  now.current = keys;
  useEffect(() => {
    const pressed = (event: KeyboardEvent): void => {
      const act = isCommand(event) ? now.current[event.key] : undefined;
      if (!act) return;
      event.preventDefault();
      act();
    };
    document.addEventListener('keydown', pressed);
    return () => document.removeEventListener('keydown', pressed);
  }, []);
}
