/** What people say about a run: its tags and notes, and the form that changes them and the name. */
import { Button, Spoiler, TagsInput, Textarea, TextInput } from '@mantine/core';
import { useQueryClient } from '@tanstack/react-query';
import { IconNotes } from '@tabler/icons-react';
import { type FormEvent, type KeyboardEvent, useEffect, useRef, useState } from 'react';
import { Link } from 'react-router';
import { ApiError, messageOf, type RunDetail, type RunSummary } from '../../api/client';
import { May } from '../../api/session';
import { Failure } from '../../components/parts';
import '../../components/tags.css';
import { applyRun } from '../../live/live';
import { changes, type Draft, type Field, FIELDS, listed, type Read, readRun, saveRun, withTheirs } from './edit';

const LABELS: Record<Field, string> = { name: 'Name', notes: 'Notes', tags: 'Tags' };

export function About({ run, onEdit }: { run: RunDetail; onEdit: (focus: Field) => void }) {
  const bare = !run.notes && run.tags.length === 0;
  if (bare) return <May scope="launch"><div className="about"><Button size="compact-xs" variant="subtle" color="gray" ml={-6} leftSection={<IconNotes size={14} />} onClick={() => onEdit('notes')} data-testid="add-notes">Add notes and tags</Button></div></May>;
  return (
    <div className="about" data-testid="about">
      {run.tags.length > 0 && <span className="tags">{run.tags.map((tag) => <Link key={tag} className="tag" to={`/runs?tag=${encodeURIComponent(tag)}`} title={`All runs with the tag ${tag}`}>{tag}</Link>)}</span>}
      {run.notes && <Spoiler maxHeight={97} showLabel="Show all" hideLabel="Show less" styles={{ control: { fontSize: 13 } }}><p className="text" data-testid="notes">{run.notes}</p></Spoiler>}
    </div>
  );
}

export function EditRun({ read, focus, onClose }: { read: Read; focus: Field; onClose: () => void }) {
  const client = useQueryClient();
  const id = read.run.id;
  const [base, setBase] = useState(read);
  const [draft, setDraft] = useState<Draft>(read.run);
  const [theirs, setTheirs] = useState<Read | null>(null);
  const [failure, setFailure] = useState<unknown>(null);
  const [busy, setBusy] = useState(false);
  const form = useRef<HTMLFormElement>(null);
  const alert = useRef<HTMLDivElement>(null);
  useEffect(() => { if (theirs) alert.current?.focus(); }, [theirs]);

  const put = <F extends Field>(field: F, value: Draft[F]): void => setDraft((before) => ({ ...before, [field]: value }));
  const mine = changes(base.run, { ...draft, name: draft.name.trim() });
  const known = (run: RunDetail): void => { client.setQueryData(['run', id], run); applyRun(client, run); };

  async function save(etag: string): Promise<void> {
    setBusy(true);
    setFailure(null);
    try {
      let wanted = etag;
      for (;;) {
        try {
          if (Object.keys(mine).length) known(await saveRun(id, mine, wanted));
          return onClose();
        } catch (error) {
          if (!(error instanceof ApiError && error.problem.status === 412)) throw error;
          const found = await readRun(id);
          known(found.run);
          wanted = found.etag;
          // Where others changed only what is not edited here, its priority for one, nobody's text is at stake: save on.
          if (Object.keys(changes((theirs ?? base).run, found.run)).length) return setTheirs(found);
        }
      }
    } catch (error) {
      setFailure(error);
    } finally {
      setBusy(false);
    }
  }

  function takeTheirs(found: Read): void {
    const left = withTheirs(base.run, draft, found.run);
    if (!Object.keys(changes(found.run, left)).length) return onClose();
    setBase(found);
    setDraft(left);
    setTheirs(null);
  }

  const submit = (event: FormEvent): void => { event.preventDefault(); if (!theirs && !busy) void save(base.etag); };
  const keys = (event: KeyboardEvent): void => {
    if (event.key === 'Escape' && !Object.keys(mine).length) onClose(); // what was typed is never lost by a key
    if (event.key !== 'Enter' || !(event.ctrlKey || event.metaKey)) return;
    (event.target as HTMLElement).blur(); // a tag that is still being typed becomes one
    setTimeout(() => form.current?.requestSubmit());
  };
  const told = failure instanceof ApiError ? failure.problem.errors : [];
  const wrong = (field: Field): string | undefined => told.find((one) => one.field.split('.')[0] === field)?.message;
  const tags = [...new Set((client.getQueryData<readonly RunSummary[]>(['runs']) ?? []).flatMap((run) => run.tags))].sort();

  return (
    <form className="panel box edit-run" ref={form} onSubmit={submit} onKeyDown={keys} noValidate aria-label="Edit the run" data-testid="edit-run">
      <TextInput label={LABELS.name} autoFocus={focus === 'name'} maxLength={200} value={draft.name} error={wrong('name')} onChange={(event) => put('name', event.currentTarget.value)} maw={560} />
      <TagsInput label={LABELS.tags} description="Short words to find the run by. Enter, comma or space ends one." maxTags={20} splitChars={[',', ' ', ';']} data={tags} value={draft.tags} error={wrong('tags')} onChange={(value) => put('tags', value)} maw={560} />
      <Textarea maw={960} label={LABELS.notes} autoFocus={focus === 'notes'} autosize minRows={4} maxRows={16} value={draft.notes} error={wrong('notes')} onChange={(event) => put('notes', event.currentTarget.value)} />
      {theirs && <div ref={alert} tabIndex={-1} data-testid="edit-conflict"><Conflict base={base.run} theirs={theirs.run} mine={mine} /></div>}
      {failure !== null && !FIELDS.some(wrong) && <Failure title="It was not saved" error={messageOf(failure)} />}
      <div className="bottom">
        {theirs ? (
          <>
            <Button size="xs" loading={busy} onClick={() => void save(theirs.etag)}>Save mine over it</Button>
            <Button size="xs" variant="default" disabled={busy} onClick={() => takeTheirs(theirs)}>Take theirs</Button>
          </>
        ) : <Button size="xs" type="submit" loading={busy} disabled={!draft.name.trim()}>Save</Button>}
        <Button size="xs" variant="subtle" color="gray" disabled={busy} onClick={onClose}>Cancel</Button>
        {!theirs && <span className="sub">Ctrl+Enter saves</span>}
      </div>
    </form>
  );
}

function Conflict({ base, theirs, mine }: { base: Draft; theirs: Draft; mine: Partial<Draft> }) {
  const changed = Object.keys(changes(base, theirs)) as Field[];
  const both = changed.filter((field) => field in mine);
  return (
    <Failure title={`Somebody else changed the ${listed(changed)} while you wrote`}>
      <p>{both.length ? `Nothing is saved yet. Saving yours replaces their ${listed(both)}.` : 'Nothing is saved yet. You changed something else: saving yours leaves theirs as it is.'}</p>
      <dl>{changed.map((field) => <div key={field}><dt>{LABELS[field]} now</dt><dd>{field === 'tags' ? theirs.tags.join(', ') || 'none' : theirs[field] || 'empty'}</dd></div>)}</dl>
    </Failure>
  );
}
