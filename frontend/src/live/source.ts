/** An EventSource that comes back by itself and says when the page must ask again for what it may have missed. */
import type { RunSummary } from '../api/client';

export type FeedMessage =
  | { kind: 'run'; run: RunSummary }
  | { kind: 'deleted'; id: string }
  /** `quiet`: for how many milliseconds nothing has been told when it connected. */
  | { kind: 'status'; connected: boolean; quiet?: number }
  | { kind: 'resync' };

const ADDRESS = '/api/v1/events';
const RETRY_MS = 1500;

export function openFeed(tell: (message: FeedMessage) => void): () => void {
  let source: EventSource;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let wasOpen = false;

  function open(): void {
    source = new EventSource(ADDRESS);
    // The server greets once nothing is missed any more, which the opening alone does not promise.
    source.addEventListener('hello', (event) => {
      const { quiet_seconds } = JSON.parse((event as MessageEvent<string>).data) as { quiet_seconds: number };
      tell({ kind: 'status', connected: true, quiet: quiet_seconds * 1000 });
      if (wasOpen) tell({ kind: 'resync' });
      wasOpen = true;
    });
    source.onerror = () => {
      tell({ kind: 'status', connected: false });
      // The browser retries a broken stream, but gives up after an answer such as 502.
      if (source.readyState === EventSource.CLOSED) timer = setTimeout(open, RETRY_MS);
    };
    source.addEventListener('run', (event) => tell({ kind: 'run', run: JSON.parse((event as MessageEvent<string>).data) as RunSummary }));
    source.addEventListener('resync', () => tell({ kind: 'resync' }));
    source.addEventListener('deleted', (event) => tell({ kind: 'deleted', id: (JSON.parse((event as MessageEvent<string>).data) as { id: string }).id }));
  }

  open();
  return () => {
    clearTimeout(timer);
    source.close();
  };
}
