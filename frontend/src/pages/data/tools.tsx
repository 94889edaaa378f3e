/** Questions to a data set: what a model's limits cut of it, and what it shares with another. */
import { Button, NumberInput, Select } from '@mantine/core';
import { useMutation, useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { api, ApiError, data, type DataSetDetail, messageOf, type RowTokens, type TokenCounts } from '../../api/client';
import { useDatasets, useModels } from '../../api/queries';
import { number } from '../../format';

const percent = (share: number): string => `${number(share * 100, 3)} %`;

export function Truncation({ set, counted }: { set: DataSetDetail; counted: (rows: readonly RowTokens[]) => void }) {
  const models = (useModels().data ?? []).filter((model) => model.role === 'policy');
  const [model, setModel] = useState<string | null>(null);
  const [hub, setHub] = useState('');
  const [limits, setLimits] = useState({ max_prompt_tokens: 512, max_completion_tokens: 128 });
  const typed = hub && !models.some((one) => one.title === hub) ? [{ value: JSON.stringify({ kind: 'hub', id: hub }), label: `${hub} (hub)` }] : [];
  const options = [...models.map((one) => ({ value: JSON.stringify(one.source), label: one.title })), ...typed];
  const chosen = model ?? options[0]?.value ?? null;
  const [seen, setSeen] = useState<{ found: TokenCounts; limits: typeof limits }>();
  const count = useMutation({
    mutationFn: async () => ({ found: await data(api.POST('/api/v1/datasets/{dataset_id}/tokens', { params: { path: { dataset_id: set.id! } }, body: { policy: JSON.parse(chosen!), ...limits } as never })), limits }),
    onSuccess: (now) => { setSeen(now); counted(now.found.rows); },
  });
  const wrong = count.error instanceof ApiError && count.error.problem.errors[0] ? count.error.problem.errors[0].message : messageOf(count.error);
  const limit = (name: keyof typeof limits, label: string) => <NumberInput size="xs" label={label} min={1} max={1_000_000} w={130} value={limits[name]} onChange={(value) => typeof value === 'number' && setLimits({ ...limits, [name]: value })} />;
  return (
    <section className="panel box tool" data-testid="truncation">
      <h2 style={{ margin: 0 }}>What a model’s limits cut</h2>
      <div className="line">
        <Select size="xs" label="Model" searchable style={{ flex: '1 1 200px' }} data={options} value={chosen} onChange={setModel} onSearchChange={setHub} nothingFoundMessage="No such model" allowDeselect={false} />
        {limit('max_prompt_tokens', 'Prompt tokens')}{limit('max_completion_tokens', 'Completion tokens')}
        <Button size="xs" loading={count.isPending} disabled={!chosen} onClick={() => count.mutate()} data-testid="count-tokens">Count</Button>
      </div>
      {count.isError && <p className="note" role="alert" style={{ color: 'var(--c-danger)' }}>{seen ? `Not counted anew, so this is the count before: ${wrong}` : wrong}</p>}
      {seen && (
        <>
          <table className="parts num"><thead className="muted" style={{ fontSize: 12, textAlign: 'right' }}><tr><td /><td>median</td><td>95 %</td><td>longest</td><td>cut</td></tr></thead>
            <tbody>{([['Prompts', seen.found.prompts], ['Completions', seen.found.completions]] as const).filter(([, one]) => one.n > 0).map(([name, one]) => <tr key={name}><td>{name}</td>{[one.p50, one.p95, one.max].map((value, index) => <td key={index} style={{ textAlign: 'right' }}>{number(value)}</td>)}<td><b style={{ color: one.truncated_share > 0.05 ? 'var(--c-warn)' : undefined }}>{percent(one.truncated_share)}</b></td></tr>)}</tbody>
          </table>
          <p className="note">Tokens of the first {number(seen.found.prompts.n)} rows, counted with {seen.found.tokenizer} and cut at {number(seen.limits.max_prompt_tokens)} and {number(seen.limits.max_completion_tokens)}; the rows shown below say theirs.</p>
        </>
      )}
      {!seen && !count.isError && <p className="note">Prompts lose their beginning and completions their end where they are longer. Tokens are counted by the model’s own tokenizer, where it is on this machine.</p>}
    </section>
  );
}

export function Overlap({ set }: { set: DataSetDetail }) {
  const others = (useDatasets().data?.items ?? []).filter((one) => one.id && one.id !== set.id && one.state === 'ready' && (one.source.kind === 'upload' || one.source.kind === 'file'));
  const [other, setOther] = useState<string | null>(null);
  const found = useQuery({ queryKey: ['dataset', set.id, 'overlap', other], enabled: other !== null, retry: false, queryFn: () => data(api.GET('/api/v1/datasets/{dataset_id}/overlap', { params: { path: { dataset_id: set.id! }, query: { with: other! } } })) });
  const seen = other !== null ? found.data : undefined;
  return (
    <section className="panel box tool" data-testid="overlap">
      <h2 style={{ margin: 0 }}>Prompts shared with another set</h2>
      <Select size="xs" label="Other data set, for example the validation rows" data={others.map((one) => ({ value: one.id!, label: one.name }))} value={other} onChange={setOther} placeholder={others.length ? 'Choose a data set' : 'There is no other data set with a file'} disabled={others.length === 0} />
      {other !== null && found.isError && <p className="note" role="alert" style={{ color: 'var(--c-danger)' }}>{seen ? `Not up to date: ${messageOf(found.error)}` : messageOf(found.error)}</p>}
      {seen && (
        <dl className="finding" data-testid="overlap-found">
          <dt className={seen.prompts ? 'warn' : undefined}>{number(seen.prompts)}</dt><dd>different prompts stand in both{seen.one_of > 1 && `, estimated from one of ${seen.one_of}`}</dd>
          <dt className={seen.normalised ? 'warn' : undefined}>{number(seen.normalised)}</dt><dd>without case, punctuation and spacing</dd>
          <dt>{seen.second_usable ? percent(seen.second_rows / seen.second_usable) : '–'}</dt><dd>of the other set’s rows have such a prompt: a model trained on this one has seen them</dd>
        </dl>
      )}
    </section>
  );
}
