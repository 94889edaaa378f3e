/** The live connection as the page sees it: cache updates, a status to show, hints for figures. */
import { type QueryClient, useQueryClient } from '@tanstack/react-query';
import { createContext, type ReactNode, useCallback, useContext, useEffect, useMemo, useRef, useState } from 'react';
import { soon } from '../api/cache';
import type { RunDetail, RunSummary } from '../api/client';
import { isNewer, mergeRun, removeRun } from './merge';
import { type FeedMessage, openFeed } from './source';

const OFFLINE_MS = 1_200;

type Listener = (run: RunSummary | null) => void;
interface Live {
  /** Undefined until the first greeting or failure. */
  connected: boolean | undefined;
  /** Called for each event of the run, and with null when everything should be asked again. */
  listen(run: string, listener: Listener): () => void;
}

const Context = createContext<Live>({ connected: undefined, listen: () => () => undefined });
export const useLive = (): Live => useContext(Context);

function connect(tell: (message: FeedMessage) => void): () => void {
  if (typeof SharedWorker === 'undefined') return openFeed(tell);
  const worker = new SharedWorker(new URL('./feed.worker.ts', import.meta.url), { type: 'module', name: 'copg-feed' });
  worker.port.onmessage = (event: MessageEvent<FeedMessage>) => tell(event.data);
  worker.port.start();
  const beat = setInterval(() => worker.port.postMessage('here'), 20_000);
  const bye = (): void => worker.port.postMessage('bye');
  const back = (event: PageTransitionEvent): void => {
    if (event.persisted) location.reload(); // from the back-forward cache: the worker has forgotten this tab
  };
  addEventListener('pagehide', bye);
  addEventListener('pageshow', back);
  return () => {
    clearInterval(beat);
    removeEventListener('pagehide', bye);
    removeEventListener('pageshow', back);
    bye();
    worker.port.close();
  };
}

/** Deleted while this page was open. An id never comes again, an answer that was written before may. */
const gone = new Set<string>();
export const goneRuns: ReadonlySet<string> = gone;

/** The summary's own fields, put over a detail that is older; configuration, report and history stay. */
export function applyRun(client: QueryClient, run: RunSummary): void {
  if (gone.has(run.id)) return;
  // A first answer that is under way may be older than the event: it is asked for again.
  if (client.getQueryData(['runs'])) client.setQueryData<readonly RunSummary[]>(['runs'], (list) => list && mergeRun(list, run));
  else void client.invalidateQueries({ queryKey: ['runs'], exact: true });
  if (run.sweep) soon(client, ['sweeps'], { exact: true });
  const known = client.getQueryData<RunDetail>(['run', run.id]);
  if (!known) void client.invalidateQueries({ queryKey: ['run', run.id], exact: true });
  if (!known || !isNewer(known, run)) return;
  client.setQueryData<RunDetail>(['run', run.id], { ...known, ...run });
  // A move of state brings history, report and files that do not ride on the event; notes and checkpoints may have come with any.
  if (known.state !== run.state || known.fence !== run.fence) {
    void client.invalidateQueries({ queryKey: ['run', run.id] });
    void client.invalidateQueries({ queryKey: ['models'] });
  } else soon(client, ['run', run.id], { exact: true });
}

/** The server has deleted it. */
export function forgetRun(client: QueryClient, id: string): void {
  gone.add(id);
  client.setQueryData<readonly RunSummary[]>(['runs'], (list) => list && removeRun(list, id));
  void client.invalidateQueries({ queryKey: ['run', id] });
}

/** Takes what the feed says: into the cache, to whoever listens, and whether it is connected. */
export function receiver(client: QueryClient, listeners: ReadonlyMap<string, ReadonlySet<Listener>>, setConnected: (connected: boolean) => void, age = () => performance.now()) {
  let offline: ReturnType<typeof setTimeout> | undefined;
  let first = true;
  const tell = (id: string, run: RunSummary | null): void => listeners.get(id)?.forEach((listener) => listener(run));
  const again = (): void => {
    void client.invalidateQueries();
    for (const id of listeners.keys()) tell(id, null);
  };
  return {
    hear(message: FeedMessage): void {
      if (message.kind === 'run') {
        applyRun(client, message.run);
        tell(message.run.id, message.run);
      } else if (message.kind === 'deleted') {
        forgetRun(client, message.id);
        tell(message.id, null);
      } else if (message.kind === 'resync') again();
      else if (message.connected) {
        clearTimeout(offline);
        offline = undefined;
        setConnected(true);
        // What was asked for until now may be older than an event that nobody heard. Where all has been quiet since before this page
        // was there, nothing is, and most pages are spared a second round of everything.
        if (first && (message.quiet ?? 0) < age()) again();
        first = false;
      } else {
        // A reload of the server takes a moment: say so only when it lasts. Each try that fails says it again, and must not begin anew.
        offline ??= setTimeout(() => setConnected(false), OFFLINE_MS);
      }
    },
    stop: (): void => clearTimeout(offline),
  };
}

export function LiveProvider({ children }: { children: ReactNode }) {
  const client = useQueryClient();
  const [connected, setConnected] = useState<boolean>();
  const listeners = useRef(new Map<string, Set<Listener>>());

  useEffect(() => {
    const { hear, stop } = receiver(client, listeners.current, setConnected);
    const close = connect(hear);
    return () => {
      stop();
      close();
    };
  }, [client]);

  // Always the same: whoever listens, as every figure does, would begin anew with each change of the connection.
  const listen = useCallback<Live['listen']>((run, listener) => {
    const set = listeners.current.get(run) ?? new Set();
    listeners.current.set(run, set.add(listener));
    return () => set.delete(listener);
  }, []);
  const live = useMemo<Live>(() => ({ connected, listen }), [connected, listen]);
  return <Context value={live}>{children}</Context>;
}
