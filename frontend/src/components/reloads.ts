/** Against a page that loads itself again and again. */

const NAME = 'copg-loaded-again';
const PAUSE_MS = 60_000;

/** Whether this is the first time in a while, which is remembered. A store that cannot be used answers no. */
export function isFirstOf(store: Pick<Storage, 'getItem' | 'setItem'>, now: number): boolean {
  try {
    const before = Number(store.getItem(NAME) ?? -PAUSE_MS);
    if (now - before < PAUSE_MS) return false;
    store.setItem(NAME, String(now));
    return true;
  } catch { return false; }
}
