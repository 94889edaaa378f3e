/** Before the page is printed, its figures come up to date: those out of sight were not drawn for a while, or never. */
type Refresh = () => Promise<unknown>;

const PATIENCE = 5_000;
const SHOWN = 50; // a figure that was drawn is made visible a moment later
const places = new Set<Refresh>();
let printing = false;

/** Call this before the page is printed; returns how to take it back. */
export function whenPrinted(refresh: Refresh): () => void {
  places.add(refresh);
  return () => void places.delete(refresh);
}

const wait = (milliseconds: number): Promise<unknown> => new Promise((later) => setTimeout(later, milliseconds));
const refreshed = (): Promise<unknown> => Promise.allSettled([...places].map((refresh) => refresh()));

/** Print when every figure is current, or after a few seconds without an answer. */
export async function printPage(): Promise<void> {
  if (printing) return; // the key is held, or pressed again while the figures come
  printing = true;
  try {
    await Promise.race([refreshed(), wait(PATIENCE)]);
    await wait(SHOWN);
    window.print();
  } finally {
    printing = false;
  }
}

/** The browser's own menu does not wait: by it, what has already been fetched is drawn in time. */
export function listenForPrinting(): () => void {
  const before = (): void => { if (!printing) void refreshed(); };
  window.addEventListener('beforeprint', before);
  return () => window.removeEventListener('beforeprint', before);
}
