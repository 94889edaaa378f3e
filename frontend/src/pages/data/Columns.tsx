/** How the columns are understood, and the way to say otherwise. */
import { Button, Select, Textarea } from '@mantine/core';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { api, data, type DataSetDetail } from '../../api/client';
import { Failure } from '../../components/parts';
import { words } from '../../format';

const ROLES = ['prompt', 'chosen', 'rejected', 'completion', 'completion_1', 'completion_2', 'reward_1', 'reward_2', 'completions', 'rewards', 'messages'];
/** An unreadable file has no report; its error names the columns. */
const named = (error: string | null | undefined): string[] => /the columns (.+?) are not recognised/.exec(error ?? '')?.[1]?.replace(/ and [\d,]+ more$/, '').split(', ') ?? [];

export function Columns({ set }: { set: DataSetDetail }) {
  const given = (set.source.columns ?? {}) as Record<string, string>;
  const columns = set.report?.columns ?? named(set.error);
  const [open, setOpen] = useState(!set.report);
  const [draft, setDraft] = useState<Record<string, string>>(given);
  const [template, setTemplate] = useState(String(set.source.prompt_template ?? ''));
  const client = useQueryClient();
  const save = useMutation({
    mutationFn: () => data(api.PATCH('/api/v1/datasets/{dataset_id}', { params: { path: { dataset_id: set.id! } }, body: { columns: draft, prompt_template: template } as never })),
    onSuccess: (answer) => { client.setQueryData(['dataset', set.id], answer); void client.invalidateQueries({ queryKey: ['datasets'] }); },
  });
  const choose = (role: string, column: string | null): void => setDraft(({ [role]: _, ...rest }) => (column ? { ...rest, [role]: column } : rest));
  return (
    <section className="panel box tool" data-testid="columns">
      <h2 style={{ margin: 0 }}>How its columns are understood</h2>
      {!open && set.report && (
        <>
          <p className="note">Read as <b>{set.report.shape}</b>, of the columns {set.report.columns.slice(0, 12).map((name, index) => <span key={name}>{index > 0 && ', '}<code>{name}</code></span>)}{set.report.columns.length > 12 && ` and ${set.report.columns.length - 12} more`}.</p>
          <table className="roles"><tbody>{Object.entries(set.report.mapping).map(([role, column]) => <tr key={role}><td>{words(role)}</td><td><code>{column}</code></td></tr>)}</tbody></table>
          <div><Button size="xs" variant="default" onClick={() => setOpen(true)}>Change</Button></div>
        </>
      )}
      {open && (
        <>
          <p className="note">Choose a column for what is not recognised by itself. Runs that were made before keep theirs.</p>
          <table className="roles"><tbody>{ROLES.filter((role) => set.report === null || role in given || role in set.report.mapping || !role.endsWith('s')).map((role) => (
            <tr key={role}><td><label htmlFor={`role-${role}`}>{words(role)}</label></td><td><Select id={`role-${role}`} size="xs" clearable searchable data={[...new Set([...columns, ...Object.values(draft)])]} placeholder={set.report?.mapping[role] ? `by itself: ${set.report.mapping[role]}` : 'by itself'} value={draft[role] ?? null} onChange={(column) => choose(role, column)} /></td></tr>
          ))}</tbody></table>
          <Textarea size="xs" label="Prompt template" description="Made of columns, for example {post}, in place of the prompt column." autosize minRows={1} maxRows={6} value={template} onChange={(event) => setTemplate(event.currentTarget.value)} />
          {save.isError && <Failure title="Not changed" error={save.error} />}
          <div className="line"><Button size="xs" loading={save.isPending} onClick={() => save.mutate()} data-testid="save-columns">Understand it so</Button>{set.report && <Button size="xs" variant="subtle" color="gray" onClick={() => { setOpen(false); setDraft(given); }}>Leave it</Button>}</div>
        </>
      )}
    </section>
  );
}
