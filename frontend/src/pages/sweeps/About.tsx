/** What people say about a sweep, and the form that changes its name, notes and early stop. */
import { Button, Skeleton, Spoiler, Switch, Textarea, TextInput } from '@mantine/core';
import { useQueryClient } from '@tanstack/react-query';
import { IconNotes } from '@tabler/icons-react';
import { useMemo } from 'react';
import type { Sweep } from '../../api/client';
import { May } from '../../api/session';
import { EditingEnd, type Read, useEditing } from '../../components/editing';
import { fieldsOf, type JsonSchema, problemsByField, setAt } from '../../components/form/schema';
import { PlainForm } from '../../components/form/SchemaForm';
import { Failure } from '../../components/parts';
import { type Draft, type Field, FIELDS, readSweep, saveSweep, useSweepForm } from './queries';
import { value } from './parts';

const LABELS: Record<Field, string> = { name: 'Name', notes: 'Notes', early_stop: 'Early stop' };

/** `onEdit` is left out where nothing may be changed. */
export function About({ sweep, onEdit }: { sweep: Sweep; onEdit?: (focus: Field) => void }) {
  if (!sweep.notes) return onEdit && <May scope="launch"><div className="about"><Button size="compact-xs" variant="subtle" color="gray" ml={-6} leftSection={<IconNotes size={14} />} onClick={() => onEdit('notes')} data-testid="add-notes">Add notes</Button></div></May>;
  return <div className="about"><Spoiler maxHeight={97} showLabel="Show all" hideLabel="Show less" styles={{ control: { fontSize: 13 } }}><p className="text" data-testid="notes">{sweep.notes}</p></Spoiler></div>;
}

export function EditSweep({ read, focus, onClose }: { read: Read<Sweep>; focus: Field; onClose: () => void }) {
  const client = useQueryClient();
  const id = read.row.id;
  const known = (sweep: Sweep): void => { client.setQueryData(['sweep', id], sweep); void client.invalidateQueries({ queryKey: ['sweeps'] }); };
  const editing = useEditing<Sweep, Draft>(read, {
    fields: FIELDS, read: () => readSweep(id), save: (changed, etag) => saveSweep(id, changed, etag), known, onClose,
    trimmed: (draft) => ({ ...draft, name: draft.name.trim() }),
  }); // prettier-ignore
  const { draft, put, wrong } = editing;
  return (
    <form className="panel box edit-run" {...editing.form} aria-label="Edit the sweep" data-testid="edit-sweep">
      <TextInput label={LABELS.name} autoFocus={focus === 'name'} maxLength={200} value={draft.name} error={wrong('name')} onChange={(event) => put('name', event.currentTarget.value)} maw={560} />
      <Textarea maw={960} label={LABELS.notes} autoFocus={focus === 'notes'} autosize minRows={4} maxRows={16} value={draft.notes} error={wrong('notes')} onChange={(event) => put('notes', event.currentTarget.value)} />
      <EarlyStop rule={draft.early_stop} put={(rule) => put('early_stop', rule)} told={editing.told} />
      <EditingEnd editing={editing} labels={LABELS} ready={draft.name.trim() !== ''} show={(field, theirs) => (field === 'early_stop' ? <Rule rule={theirs.early_stop} /> : theirs[field] || 'empty')} />
    </form>
  );
}

type Rule = Draft['early_stop'];

function EarlyStop({ rule, put, told }: { rule: Rule; put: (rule: Rule) => void; told: readonly { field: string; message: string }[] }) {
  const form = useSweepForm();
  const fields = useMemo(() => (form.data ? fieldsOf(form.data.early_stop_schema as JsonSchema) : []), [form.data]);
  const values = (rule ?? {}) as Record<string, unknown>;
  const problems = useMemo(() => problemsByField(told.filter((one) => one.field.startsWith('early_stop')).map((one) => ({ ...one, field: one.field.replace(/^early_stop\.?/, '') })), fields, values), [told, fields]);
  if (form.isError && !form.data) return <Failure title="The early stop cannot be edited" error={form.error} />;
  if (!form.data) return <Skeleton height={40} />;
  return (
    <div role="group" aria-label="Early stop" style={{ display: 'grid', gap: 14, maxWidth: 960 }}>
      <Switch size="xs" label="Stop hopeless runs early" description="Counts for evaluations from now on. Runs that were stopped stay so; each can be resumed by itself." checked={rule !== null} onChange={(event) => put(event.currentTarget.checked ? (form.data.early_stop_defaults as Rule) : null)} data-testid="early-stop" />
      {rule !== null && <PlainForm fields={fields} values={values} state={{ models: [], datasets: [], problems, change: (path, given) => put(setAt(values, path, given) as Rule) }} />}
      {problems.get('') && <Failure title="It was not saved" error={problems.get('')!.join(' ')} />}
    </div>
  );
}

/** A rule as somebody else has it now. */
function Rule({ rule }: { rule: Rule }) {
  return rule === null ? 'off' : Object.entries(rule).map(([field, given]) => `${field} ${value(given)}`).join(', ');
}
