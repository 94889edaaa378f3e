/** Into the clipboard, over plain http too, where browsers have no navigator.clipboard. */
import { notifications } from '@mantine/notifications';

/** False where the browser lets this page copy nothing. */
export async function copyText(text: string): Promise<boolean> {
  try {
    if (navigator.clipboard) {
      await navigator.clipboard.writeText(text);
      return true;
    }
  } catch {
    // Not allowed: what a person could do by hand may still be.
  }
  return bySelecting(text);
}

function bySelecting(text: string): boolean {
  const focused = document.activeElement as HTMLElement | null;
  const area = Object.assign(document.createElement('textarea'), { value: text, readOnly: true });
  area.style.cssText = 'position: fixed; inset: 0 auto auto 0; opacity: 0';
  area.setAttribute('aria-hidden', 'true');
  const modal = focused?.closest('[role=dialog]') ?? document.querySelector('[role=dialog][aria-modal=true]'); // which keeps the focus to itself
  (modal ?? document.body).append(area);
  area.select();
  try {
    return document.execCommand('copy');
  } catch {
    return false;
  } finally {
    area.remove();
    focused?.focus({ preventScroll: true });
  }
}

/** Copies, and says so where that fails: whoever believes to have a token that is shown once would lose it. */
export async function copy(text: string, done: () => void): Promise<void> {
  if (await copyText(text)) done();
  else notifications.show({ id: 'not-copied', color: 'red', message: 'Not copied: this browser does not let the page do it. Select the text and press Ctrl+C.', autoClose: 10_000, closeButtonProps: { 'aria-label': 'Close' } });
}
