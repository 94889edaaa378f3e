/** What the policy wrote at each evaluation, with its scores. */
import { ActionIcon, Button, Group, Select, Skeleton, UnstyledButton } from '@mantine/core';
import { useInfiniteQuery } from '@tanstack/react-query';
import { IconChevronLeft, IconChevronRight } from '@tabler/icons-react';
import { useMemo, useState } from 'react';
import { Link, useSearchParams } from 'react-router';
import { api, data, type RunDetail, type Sample } from '../../api/client';
import { Failure } from '../../components/parts';
import { number, reward } from '../../format';
import { useRefresh } from '../../live/refresh';

const SORTS = { prompt: (one: Sample) => one.prompt_index, reward: (one: Sample) => one.reward, gold: (one: Sample) => one.gold, kl: (one: Sample) => one.kl, length: (one: Sample) => one.length, finished: (one: Sample) => Number(one.finished) };
type Key = keyof typeof SORTS;

export function SamplesTab({ run }: { run: RunDetail }) {
  const [query, setQuery] = useSearchParams();
  const asked = query.get('step');
  const [sort, setSort] = useState<{ key: Key; down: boolean }>({ key: 'prompt', down: false });
  const [open, setOpen] = useState<ReadonlySet<number>>(new Set());
  const samples = useInfiniteQuery({
    queryKey: ['run', run.id, 'samples', asked],
    initialPageParam: { step: asked === null ? undefined : Number(asked), cursor: undefined as string | undefined },
    queryFn: ({ pageParam }) => data(api.GET('/api/v1/runs/{run_id}/samples', { params: { path: { run_id: run.id }, query: { ...pageParam, limit: 128 } } })),
    getNextPageParam: (page) => (page.next_cursor ? { step: page.step!, cursor: page.next_cursor } : undefined), // of the same step, though a newer one may have come
    placeholderData: (before) => before,
  });
  useRefresh(['run', run.id, 'samples'], [run.id]);
  const first = samples.data?.pages[0];
  const items = useMemo(() => {
    const value = SORTS[sort.key];
    return (samples.data?.pages.flatMap((page) => page.items) ?? []).toSorted((a, b) => ((value(a) ?? -Infinity) - (value(b) ?? -Infinity)) * (sort.down ? -1 : 1));
  }, [samples.data, sort]);
  if (samples.isError && !first) return <Failure title="The samples cannot be shown" error={samples.error} />;
  if (!first) return <Skeleton height={420} />;
  if (first.steps.length === 0) return <div className="panel box muted">No samples yet: the first ones are written by the evaluation at step 0.{run.algorithm === 'reward_model' && ' A reward model writes none.'}</div>;
  const at = first.steps.indexOf(first.step ?? -1);
  const go = (step: number | undefined): void => { if (step !== undefined) setQuery({ step: String(step) }, { replace: true }); };
  const has = { gold: items.some((one) => one.gold !== null), kl: items.some((one) => one.kl !== null), reward: items.some((one) => one.reward !== null) };
  const columns: [Key, string, boolean][] = [['reward', 'Reward', has.reward], ['gold', 'Gold', has.gold], ['kl', 'KL, nats', has.kl], ['length', 'Tokens', true], ['finished', 'Finished', true]];
  return (
    <div className="panel" style={{ overflow: 'hidden' }}>
      <Group gap={8} p={10} style={{ borderBottom: '1px solid var(--c-border)' }}>
        <span className="muted" style={{ fontSize: 13 }} id="step-label">Step</span>
        <ActionIcon variant="default" aria-label="Earlier evaluation" disabled={at <= 0} onClick={() => go(first.steps[at - 1])}><IconChevronLeft size={16} /></ActionIcon>
        <Select aria-labelledby="step-label" size="xs" w={96} searchable allowDeselect={false} value={String(first.step)} data={first.steps.map(String)} onChange={(value) => go(value === null ? undefined : Number(value))} data-testid="samples-step" />
        <ActionIcon variant="default" aria-label="Later evaluation" disabled={at < 0 || at >= first.steps.length - 1} onClick={() => go(first.steps[at + 1])}><IconChevronRight size={16} /></ActionIcon>
        {first.steps.length > 1 && <input type="range" aria-label="Evaluation" min={0} max={first.steps.length - 1} value={Math.max(0, at)} onChange={(event) => go(first.steps[Number(event.currentTarget.value)])} style={{ width: 180, accentColor: 'var(--c-accent)' }} />}
        <Link className="push" style={{ fontSize: 13 }} to={`/samples?column=${run.id}@first&column=${run.id}@${asked ?? 'last'}`}>Side by side</Link>
        {run.state === 'succeeded' && <Link style={{ fontSize: 13 }} to={`/playground?run=${run.id}`}>Try a prompt</Link>}
        <span className="muted num" style={{ fontSize: 13 }}>{items.length} of {first.total} prompts</span>
      </Group>
      <div style={{ overflowX: 'auto' }} tabIndex={0} role="region" aria-label="Samples">
        <table className="samples cards" data-testid="samples-table" data-step={first.step}>
          <thead><tr>
            <th aria-sort={sort.key === 'prompt' ? (sort.down ? 'descending' : 'ascending') : 'none'}><UnstyledButton fz={12} fw={560} onClick={() => setSort({ key: 'prompt', down: sort.key === 'prompt' && !sort.down })}>Prompt{sort.key === 'prompt' && (sort.down ? ' ↓' : ' ↑')}</UnstyledButton></th>
            <th>Completion</th>
            {columns.filter(([, , shown]) => shown).map(([key, label]) => (
              <th key={key} className="n" aria-sort={sort.key === key ? (sort.down ? 'descending' : 'ascending') : 'none'}><UnstyledButton fz={12} fw={560} onClick={() => setSort({ key, down: sort.key === key ? !sort.down : true })}>{label}{sort.key === key && (sort.down ? ' ↓' : ' ↑')}</UnstyledButton></th>
            ))}
          </tr></thead>
          <tbody>
            {items.map((one) => {
              const whole = open.has(one.prompt_index);
              const long = one.prompt.length > 220;
              return (
                <tr key={one.prompt_index}>
                  <td className="text muted"><span className={whole ? undefined : 'clip'}>{one.prompt}</span>{long && <Button variant="subtle" size="compact-xs" mt={2} ml={-6} onClick={() => setOpen((before) => { const next = new Set(before); if (whole) next.delete(one.prompt_index); else next.add(one.prompt_index); return next; })}>{whole ? 'Shorten' : 'Whole prompt'}</Button>}</td>
                  <td className="text" style={{ fontWeight: 500 }}>{one.completion || <span className="muted">(empty)</span>}</td>
                  {has.reward && <td className="n" data-label="Reward">{reward(one.reward)}</td>}
                  {has.gold && <td className="n" data-label="Gold">{reward(one.gold)}</td>}
                  {has.kl && <td className="n" data-label="KL, nats">{number(one.kl, 3)}</td>}
                  <td className="n" data-label="Tokens">{one.length}</td>
                  <td className="n" data-label="Finished">{one.finished ? 'yes' : <span style={{ color: 'var(--c-warn)' }}>cut off</span>}</td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </div>
      {samples.hasNextPage && <Group justify="center" p={12}><Button variant="default" size="xs" loading={samples.isFetchingNextPage} onClick={() => void samples.fetchNextPage()}>More prompts</Button></Group>}
    </div>
  );
}
