/** Where files are dropped or chosen, and how far each of them is. */
import { ActionIcon, Button } from '@mantine/core';
import { useQueryClient } from '@tanstack/react-query';
import { IconCloudUpload, IconX } from '@tabler/icons-react';
import { type DragEvent, useEffect, useRef, useState } from 'react';
import { Link } from 'react-router';
import { bytes } from '../../format';
import { away, leaveDone, outcomeOf, upload, useJobs } from './jobs';

const ENDINGS = '.jsonl,.ndjson,.json,.csv,.tsv,.gz,.parquet';

export function Uploads({ limit }: { limit: number | undefined }) {
  const { jobs, said } = useJobs();
  const [over, setOver] = useState(false);
  const input = useRef<HTMLInputElement>(null);
  const client = useQueryClient();
  useEffect(() => leaveDone, []);
  const take = (files: Iterable<File>): void => upload(files, limit, client);
  const dropped = (event: DragEvent): void => {
    event.preventDefault();
    setOver(false);
    take(event.dataTransfer.files);
  };
  return (
    <section className="panel uploads" aria-label="Upload">
      <div className={`drop${over ? ' over' : ''}`} onDragOver={(event) => { event.preventDefault(); setOver(true); }} onDragLeave={() => setOver(false)} onDrop={dropped} data-testid="drop">
        <IconCloudUpload size={26} stroke={1.5} aria-hidden />
        <p><b>Drop files here</b><span>jsonl, json, csv, tsv (each also as .gz) or parquet{limit !== undefined && `, up to ${bytes(limit)}`}</span></p>
        <Button variant="default" size="xs" onClick={() => input.current?.click()}>Choose files</Button>
        <input ref={input} type="file" multiple accept={ENDINGS} hidden data-testid="file-input" aria-label="Files to upload" onChange={(event) => { take(event.currentTarget.files ?? []); event.currentTarget.value = ''; }} />
      </div>
      <span className="sr" role="status">{said}</span>{/* the bars change too often to be read out */}
      {jobs.length > 0 && (
        <ul className="sending">
          {jobs.map((job) => (
            <li key={job.key} data-testid="upload" data-state={job.error ? 'failed' : job.done ? 'done' : 'sending'}>
              <div className="cut" title={job.name}>{job.done ? <Link to={`/data/${job.done.id}`}>{job.name}</Link> : job.name}</div>
              <div className="what num">
                {job.error ? <span className="wrong">{job.error}</span>
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
