/** Single keys of a page. Whoever types into a field, or has a dialog open, means the text and never the page. */
import { useEffect, useRef } from 'react';

const TYPED_INTO = 'textarea, select, [contenteditable=true], [role=textbox], [role=combobox], input:not([type=checkbox], [type=radio])';

/** Whether a key that was pressed here may be a command of the page. */
export function isCommand(event: Pick<KeyboardEvent, 'ctrlKey' | 'metaKey' | 'altKey' | 'isComposing' | 'defaultPrevented' | 'target'>): boolean {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || event.defaultPrevented) return false;
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
