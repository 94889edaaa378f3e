/** Files on their way to the studio. They go on whatever page is shown, and whoever comes back sees how far they are. */
import { notifications } from '@mantine/notifications';
import type { QueryClient } from '@tanstack/react-query';
import { useSyncExternalStore } from 'react';
import { messageOf, type Upload } from '../../api/client';
import { isDeleting, takeBackId } from '../../api/deleting';
import { hold } from '../../components/unsaved';
import { bytes } from '../../format';
import { send, type Sending } from './upload';

/** What becomes of a set that was here already: it was about to be deleted and is not, or is being deleted. */
type Fate = 'kept' | 'lost';
export interface Job { key: number; name: string; size: number; share: number; error?: string; done?: Upload; fate?: Fate; sending?: Sending }

/** Whoever uploads the content of a set that waits to be deleted wants it: it stays. */
export function fateOf(done: Upload): Fate | undefined {
  if (!done.existing || !done.id) return undefined;
  return takeBackId(done.id) ? 'kept' : isDeleting(done.id) ? 'lost' : undefined;
}

export function outcomeOf(done: Upload, fate: Fate | undefined): string {
  if (!done.existing) return 'Uploaded. It is being analysed.';
  const here = `The same content is here already, as “${done.name}”`;
  return fate === 'lost' ? `${here}, which is just being deleted: upload it again in a moment.` : `${here}: nothing was added${fate === 'kept' ? ', and it is not deleted' : ''}.`;
}

let keys = 0;
let state: { jobs: readonly Job[]; said: string } = { jobs: [], said: '' }; // `said`: how the last one ended
let letGo: (() => void) | undefined;
const listeners = new Set<() => void>();

const isUnderWay = (job: Job): boolean => !job.done && job.error === undefined;

function put(next: Partial<typeof state>): void {
  state = { ...state, ...next };
  const busy = state.jobs.some(isUnderWay);
  if (busy) letGo ??= hold(() => false); // only a page that goes away ends it
  else { letGo?.(); letGo = undefined; }
  listeners.forEach((listener) => listener());
}
const change = (key: number, part: Partial<Job>): void => put({ jobs: state.jobs.map((one) => (one.key === key ? { ...one, ...part } : one)) });

/** What has ended is said once: beside the files where they are shown, elsewhere in a notice. */
function end(key: number, part: Pick<Job, 'done' | 'error' | 'fate'>): void {
  const job = state.jobs.find((one) => one.key === key);
  if (!job) return; // it was stopped
  const said = `${job.name}: ${part.done ? outcomeOf(part.done, part.fate) : part.error}`;
  change(key, part);
  if (listeners.size) put({ said });
  else notifications.show({ color: part.done ? undefined : 'red', message: said, autoClose: part.done ? 5000 : false, closeButtonProps: { 'aria-label': 'Close' } });
}

export function upload(files: Iterable<File>, limit: number | undefined, client: QueryClient): void {
  for (const file of files) {
    const key = keys++;
    const job: Job = { key, name: file.name, size: file.size, share: 0 };
    if (limit !== undefined && file.size > limit) {
      put({ jobs: [job, ...state.jobs] });
      end(key, { error: `It has ${bytes(file.size)}, and uploads may have ${bytes(limit)}: compress or split it.` });
      continue;
    }
    job.sending = send(file, (share) => change(key, { share }));
    put({ jobs: [job, ...state.jobs] });
    job.sending.promise.then((done) => { end(key, { done, fate: fateOf(done) }); void client.invalidateQueries({ queryKey: ['datasets'] }); }, (error: unknown) => end(key, { error: messageOf(error) }));
  }
}

/** Takes it off the list, and stops it where it is under way. */
export function away(job: Job): void {
  if (isUnderWay(job)) job.sending?.stop();
  put({ jobs: state.jobs.filter((one) => one.key !== job.key) });
}

/** Whoever leaves has seen what is done. */
export const leaveDone = (): void => put({ jobs: state.jobs.filter((one) => !one.done), said: '' });

const listen = (listener: () => void): (() => void) => { listeners.add(listener); return () => listeners.delete(listener); };
export const useJobs = () => useSyncExternalStore(listen, () => state);
export const seen = (): typeof state => state;
