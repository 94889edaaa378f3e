/** Where files are dropped or chosen, and how far each of them is. */
import { ActionIcon, Button } from '@mantine/core';
import { useQueryClient } from '@tanstack/react-query';
import { IconCloudUpload, IconX } from '@tabler/icons-react';
import { type DragEvent, useRef, useState } from 'react';
import { Link } from 'react-router';
import { messageOf, type Upload } from '../../api/client';
import { isDeleting, takeBackId } from '../../api/deleting';
import { bytes } from '../../format';
import { send, type Sending } from './upload';

/** What becomes of a set that was here already: it was about to be deleted and is not, or is being deleted. */
type Fate = 'kept' | 'lost';
interface Job { key: number; name: string; size: number; share: number; error?: string; done?: Upload; fate?: Fate; sending?: Sending }

const ENDINGS = '.jsonl,.ndjson,.json,.csv,.tsv,.gz,.parquet';
let keys = 0;

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

export function Uploads({ limit }: { limit: number | undefined }) {
  const [jobs, setJobs] = useState<readonly Job[]>([]);
  const [over, setOver] = useState(false);
  const input = useRef<HTMLInputElement>(null);
  const client = useQueryClient();
  const change = (key: number, part: Partial<Job>): void => setJobs((before) => before.map((one) => (one.key === key ? { ...one, ...part } : one)));

  const take = (files: Iterable<File>): void => {
    for (const file of files) {
      const job: Job = { key: keys++, name: file.name, size: file.size, share: 0 };
      if (limit !== undefined && file.size > limit) job.error = `It has ${bytes(file.size)}, and uploads may have ${bytes(limit)}: compress or split it.`;
      else {
        job.sending = send(file, (share) => change(job.key, { share }));
        job.sending.promise.then((done) => { change(job.key, { done, fate: fateOf(done) }); void client.invalidateQueries({ queryKey: ['datasets'] }); }, (error) => change(job.key, { error: messageOf(error) }));
      }
      setJobs((before) => [job, ...before]);
    }
  };
  const dropped = (event: DragEvent): void => {
    event.preventDefault();
    setOver(false);
    take(event.dataTransfer.files);
  };
  const away = (job: Job): void => {
    if (!job.done && !job.error) job.sending?.stop();
    setJobs((before) => before.filter((one) => one !== job));
  };
  return (
    <section className="panel uploads" aria-label="Upload">
      <div className={`drop${over ? ' over' : ''}`} onDragOver={(event) => { event.preventDefault(); setOver(true); }} onDragLeave={() => setOver(false)} onDrop={dropped} data-testid="drop">
        <IconCloudUpload size={26} stroke={1.5} aria-hidden />
        <p><b>Drop files here</b><span>jsonl, json, csv, tsv (each also as .gz) or parquet{limit !== undefined && `, up to ${bytes(limit)}`}</span></p>
        <Button variant="default" size="xs" onClick={() => input.current?.click()}>Choose files</Button>
        <input ref={input} type="file" multiple accept={ENDINGS} hidden data-testid="file-input" aria-label="Files to upload" onChange={(event) => { take(event.currentTarget.files ?? []); event.currentTarget.value = ''; }} />
      </div>
      {jobs.length > 0 && (
        <ul className="sending" aria-live="polite">
          {jobs.map((job) => (
            <li key={job.key} data-testid="upload" data-state={job.error ? 'failed' : job.done ? 'done' : 'sending'}>
              <div className="cut" title={job.name}>{job.done ? <Link to={`/data/${job.done.id}`}>{job.name}</Link> : job.name}</div>
              <div className="what num">
                {job.error ? <span className="wrong" role="alert">{job.error}</span>
                  : job.done ? <span className="muted">{outcomeOf(job.done, job.fate)}</span>
                  : <div className="bar" role="progressbar" aria-label={`Upload of ${job.name}`} aria-valuemin={0} aria-valuemax={100} aria-valuenow={Math.round(job.share * 100)}><i style={{ width: `${job.share * 100}%` }} /></div>}
              </div>
              <span className="muted num">{job.error || job.done ? bytes(job.size) : `${Math.round(job.share * 100)} % of ${bytes(job.size)}`}</span>
              <ActionIcon variant="subtle" color="gray" size="sm" aria-label={job.done || job.error ? `Put ${job.name} away` : `Stop the upload of ${job.name}`} onClick={() => away(job)}><IconX size={15} /></ActionIcon>
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}
