/** What people say about a run: its tags and notes, and the form that changes them and the name. */
import { Button, Spoiler, TagsInput, Textarea, TextInput } from '@mantine/core';
import { useQueryClient } from '@tanstack/react-query';
import { IconNotes } from '@tabler/icons-react';
import { Link } from 'react-router';
import { type RunDetail, type RunSummary } from '../../api/client';
import { May } from '../../api/session';
import { EditingEnd, type Read, useEditing } from '../../components/editing';
import '../../components/tags.css';
import { applyRun } from '../../live/live';
import { type Draft, type Field, FIELDS, readRun, saveRun } from './edit';

const LABELS: Record<Field, string> = { name: 'Name', notes: 'Notes', tags: 'Tags' };

/** `onEdit` is left out where nothing may be changed. */
export function About({ run, onEdit }: { run: RunDetail; onEdit?: (focus: Field) => void }) {
  const bare = !run.notes && run.tags.length === 0;
  if (bare) return onEdit && <May scope="launch"><div className="about"><Button size="compact-xs" variant="subtle" color="gray" ml={-6} leftSection={<IconNotes size={14} />} onClick={() => onEdit('notes')} data-testid="add-notes">Add notes and tags</Button></div></May>;
  return (
    <div className="about" data-testid="about">
      {run.tags.length > 0 && <span className="tags">{run.tags.map((tag) => <Link key={tag} className="tag" to={`/runs?tag=${encodeURIComponent(tag)}`} title={`All runs with the tag ${tag}`}>{tag}</Link>)}</span>}
      {run.notes && <Spoiler maxHeight={97} showLabel="Show all" hideLabel="Show less" styles={{ control: { fontSize: 13 } }}><p className="text" data-testid="notes">{run.notes}</p></Spoiler>}
    </div>
  );
}

export function EditRun({ read, focus, onClose }: { read: Read<RunDetail>; focus: Field; onClose: () => void }) {
  const client = useQueryClient();
  const id = read.row.id;
  const known = (run: RunDetail): void => { client.setQueryData(['run', id], run); applyRun(client, run); };
  const editing = useEditing<RunDetail, Draft>(read, {
    fields: FIELDS, read: () => readRun(id), save: (changed, etag) => saveRun(id, changed, etag), known, onClose,
    trimmed: (draft) => ({ ...draft, name: draft.name.trim() }),
  }); // prettier-ignore
  const { draft, put, wrong } = editing;
  const tags = [...new Set((client.getQueryData<readonly RunSummary[]>(['runs']) ?? []).flatMap((run) => run.tags))].sort();
  return (
    <form className="panel box edit-run" {...editing.form} aria-label="Edit the run" data-testid="edit-run">
      <TextInput label={LABELS.name} autoFocus={focus === 'name'} maxLength={200} value={draft.name} error={wrong('name')} onChange={(event) => put('name', event.currentTarget.value)} maw={560} />
      <TagsInput label={LABELS.tags} description="Short words to find the run by. Enter, comma or space ends one." maxTags={20} splitChars={[',', ' ', ';']} data={tags} value={draft.tags} error={wrong('tags')} onChange={(value) => put('tags', value)} maw={560} />
      <Textarea maw={960} label={LABELS.notes} autoFocus={focus === 'notes'} autosize minRows={4} maxRows={16} value={draft.notes} error={wrong('notes')} onChange={(event) => put('notes', event.currentTarget.value)} />
      <EditingEnd editing={editing} labels={LABELS} ready={draft.name.trim() !== ''} show={(field, theirs) => (field === 'tags' ? theirs.tags.join(', ') || 'none' : theirs[field] || 'empty')} />
    </form>
  );
}
