/** One timer for all times that are told as so long ago, while any is shown. */
const EVERY_MS = 30_000;
const listeners = new Set<() => void>();
let timer: ReturnType<typeof setInterval> | undefined;
let count = 0;

export const ticks = {
  count: (): number => count,
  subscribe(listener: () => void): () => void {
    listeners.add(listener);
    timer ??= setInterval(() => { count += 1; listeners.forEach((one) => one()); }, EVERY_MS);
    return () => {
      listeners.delete(listener);
      if (listeners.size > 0) return;
      clearInterval(timer);
      timer = undefined;
    };
  },
};
