/** What varies: fields of the form and the values they take, how many runs that makes, and what they take together. */
import { ActionIcon, Button, Chip, Group, Select, Switch, TextInput } from '@mantine/core';
import { useDebouncedValue } from '@mantine/hooks';
import { useQuery } from '@tanstack/react-query';
import { IconPlus, IconTrash } from '@tabler/icons-react';
import { type Algorithm, api, ApiError, data, DRAFT, type SweepPreview } from '../../api/client';
import { lateness, useLast } from '../../api/last';
import type { Field } from '../../components/form/schema';
import { algorithmName } from '../../components/parts';
import { choices, problemsOf, type Varied } from './varying';

export interface SweepDraft { varied: Varied[]; others: string[]; earlyStop: boolean }
export const firstDraft = (defaults: Record<string, unknown>): SweepDraft => ({ varied: [{ path: 'beta' in defaults ? 'beta' : 'optimizer.learning_rate', text: '', of: {} }], others: [], earlyStop: false });

interface Props { draft: SweepDraft; change: (draft: SweepDraft) => void; fields: readonly Field[]; config: Record<string, unknown>; algorithm: Algorithm; algorithms: readonly Algorithm[]; request: Record<string, unknown> }

export function SweepPanel({ draft, change, fields, config, algorithm, algorithms, request }: Props) {
  const [settled] = useDebouncedValue(request, 400);
  const ready = draft.varied.some((one) => one.text.trim() || Object.values(one.of).some((text) => text.trim()));
  const preview = useQuery({
    queryKey: ['sweep-preview', settled], enabled: ready, retry: false,
    queryFn: () => data(api.POST('/api/v1/sweeps/preview', { body: settled as never, headers: DRAFT })),
  }); // prettier-ignore
  const last = useLast(settled, preview);
  const wrong = last.error instanceof ApiError && (last.error.problem.status === 422 || last.error.problem.errors.length > 0); // which is an answer: such values make no runs
  const problems = ready && last.error instanceof ApiError ? problemsOf(last.error.problem.errors) : { rows: new Map<string, string>(), rest: [] };
  const grouped = new Map<string, { value: string; label: string }[]>();
  for (const { group, value, label } of choices(fields, config)) grouped.set(group, [...(grouped.get(group) ?? []), { value, label }]);
  const options = [...grouped].map(([group, items]) => ({ group, items }));
  const set = (index: number, row: Partial<Varied>): void => change({ ...draft, varied: draft.varied.map((one, at) => (at === index ? { ...one, ...row } : one)) });
  const beside = 'beta' in algorithm.defaults ? algorithms.filter((one) => one !== algorithm && 'beta' in one.defaults) : [];
  const all = [algorithm.algorithm, ...draft.others];
  return (
    <section className="panel box sweep-draft" aria-label="What varies" data-testid="sweep-draft">
      <h2>What varies</h2>
      {draft.varied.map((row, index) => (
        <div key={index} className="varied">
          <Select aria-label={`Field ${index + 1}`} placeholder="Field" searchable size="xs" data={options} value={row.path || null} onChange={(path) => set(index, { path: path ?? '' })} data-testid={`vary-field-${index}`} />
          {row.path === 'beta' && all.length > 1
            ? all.map((one, at) => <TextInput key={one} size="xs" label={algorithmName(one)} placeholder="0.01, 0.1, 1" value={(at === 0 ? undefined : row.of[one]) ?? row.text} error={problems.rows.get(`beta.${at}`)} onChange={(event) => set(index, at === 0 ? { text: event.currentTarget.value } : { of: { ...row.of, [one]: event.currentTarget.value } })} />)
            : <TextInput aria-label={`Values ${index + 1}`} size="xs" placeholder={index ? '0, 1, 2' : '0.01, 0.03, 0.1'} value={row.text} error={problems.rows.get(row.path) ?? problems.rows.get(`${row.path}.0`)} onChange={(event) => set(index, { text: event.currentTarget.value })} data-testid={`vary-values-${index}`} />}
          <ActionIcon variant="subtle" color="gray" aria-label={`Remove field ${index + 1}`} disabled={draft.varied.length === 1} onClick={() => change({ ...draft, varied: draft.varied.toSpliced(index, 1) })}><IconTrash size={15} /></ActionIcon>
        </div>
      ))}
      <p className="muted help">Values: <code>0.01, 0.03, 0.1</code>, <code>log 0.003..0.3 x 6</code> or <code>0..4</code>. Every combination is a run.</p>
      <Button size="xs" variant="default" leftSection={<IconPlus size={14} />} style={{ justifySelf: 'start' }} data-testid="vary-add" onClick={() => change({ ...draft, varied: [...draft.varied, { path: draft.varied.some((one) => one.path === 'seed') ? '' : 'seed', text: '', of: {} }] })}>Another field</Button>
      {beside.length > 0 && (
        <div role="group" aria-label="Compare with">
          <p className="muted help" style={{ marginBottom: 6 }}>Also train, on the same data from the same model:</p>
          <Chip.Group multiple value={draft.others} onChange={(others) => change({ ...draft, others })}><Group gap={6}>{beside.map((one) => <Chip key={one.algorithm} size="xs" value={one.algorithm}>{algorithmName(one.algorithm)}</Chip>)}</Group></Chip.Group>
        </div>
      )}
      <Switch size="xs" label="Stop hopeless runs early" description="From half of its steps on, a run is stopped where a paired test over the same prompts shows that it is far behind the best of its algorithm. It can be resumed." checked={draft.earlyStop} onChange={(event) => change({ ...draft, earlyStop: event.currentTarget.checked })} />
      {ready && last.error && <p role="alert" className="help" style={{ color: 'var(--c-danger)' }}>{problems.rest.map((one) => `${one.field}: ${one.message}`).join('\n') || (problems.rows.size ? 'Correct the values that are marked.' : last.answer && !wrong ? lateness(last, 'Shown are the runs of earlier settings; those of now could not be counted') : last.error.message)}</p>}
      {ready && last.answer && !wrong && <Result preview={last.answer} />}
    </section>
  );
}

function Result({ preview }: { preview: SweepPreview }) {
  return (
    <div className="outcome" role="status" data-testid="sweep-preview" data-total={preview.total}>
      <p><b className="num">{preview.total} run{preview.total === 1 ? '' : 's'}</b>{preview.duplicates > 0 && <span className="muted"> ({preview.duplicates} equal one{preview.duplicates === 1 ? '' : 's'} left out)</span>}</p>
      {preview.estimates.map((one) => (
        <p key={one.device} className="muted">
          {one.wall_duration ? <><b className="num">{one.wall_duration}</b> on {one.device}, {one.slots} at a time</> : one.duration ? <><b className="num">{one.duration}</b> of {one.device}</> : <>Not known{one.unknown[0] ? `: ${one.unknown[0]}` : `: the time on ${one.device}`}</>}
          {one.do_not_fit > 0 && <span style={{ color: 'var(--c-danger)' }}>. {one.do_not_fit} run{one.do_not_fit === 1 ? ' does' : 's do'} not fit in its memory</span>}
        </p>
      ))}
      <details><summary className="muted">Their names</summary><ul>{preview.members.map((one, index) => <li key={index}>{one.name}</li>)}{preview.total > preview.members.length && <li>and {preview.total - preview.members.length} more</li>}</ul></details>
    </div>
  );
}
