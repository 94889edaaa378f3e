/** What the policy wrote at each evaluation, with its scores. */
import { ActionIcon, Button, Group, Select, Skeleton, UnstyledButton } from '@mantine/core';
import { useInfiniteQuery } from '@tanstack/react-query';
import { IconChevronLeft, IconChevronRight } from '@tabler/icons-react';
import { useEffect, useMemo, useRef, useState } from 'react';
import { Link } from 'react-router';
import { api, data, type RunDetail, type Sample } from '../../api/client';
import { useAddress } from '../../components/address';
import { Failure } from '../../components/parts';
import { number, reward } from '../../format';
import { useRefresh } from '../../live/refresh';
import { parseSort } from '../runs/select';

const SORTS = { prompt: (one: Sample) => one.prompt_index, reward: (one: Sample) => one.reward, gold: (one: Sample) => one.gold, kl: (one: Sample) => one.kl, length: (one: Sample) => one.length, finished: (one: Sample) => Number(one.finished) };
type Key = keyof typeof SORTS;

function useSamples(run: string, asked: string | null, enabled = true) {
  return useInfiniteQuery({
    queryKey: ['run', run, 'samples', asked],
    initialPageParam: { step: asked === null ? undefined : Number(asked), cursor: undefined as string | undefined },
    queryFn: ({ pageParam, signal }) => data(api.GET('/api/v1/runs/{run_id}/samples', { params: { path: { run_id: run }, query: { ...pageParam, limit: 128 } }, signal })),
    getNextPageParam: (page) => (page.next_cursor ? { step: page.step!, cursor: page.next_cursor } : undefined), // of the same step, though a newer one may have come
    placeholderData: (before) => before,
    enabled,
  });
}

/** A parameter of the address that changes under a moving hand: the address follows what is `asked`, and never takes it back. */
function useFollowed(given: string | null, write: (value: string | null) => void): [string | null, (value: string | null) => void] {
  const [asked, setAsked] = useState(given);
  const underway = useRef<(string | null)[]>([]); // what was written into the address and does not stand there yet
  useEffect(() => {
    const mine = underway.current.lastIndexOf(given);
    if (mine < 0) setAsked(given); // a link, a step back
    underway.current = underway.current.slice(mine + 1);
  }, [given]);
  return [asked, (value) => { if (value !== asked) { underway.current.push(value); setAsked(value); write(value); } }];
}

export function SamplesTab({ run }: { run: RunDetail }) {
  const [query, change] = useAddress();
  const set = (key: string, value: string | null): void => change({ [key]: value });
  const [asked, ask] = useFollowed(query.get('step'), (step) => set('step', step));
  const named = parseSort(query.get('sort') ?? 'prompt');
  const sort = { key: named.key in SORTS ? (named.key as Key) : 'prompt', down: named.descending };
  const [open, setOpen] = useState<ReadonlySet<number>>(new Set());
  const samples = useSamples(run.id, asked);
  const newest = useSamples(run.id, null, samples.isError && asked !== null); // of a step that is not there, nothing says which are
  useRefresh(['run', run.id, 'samples'], [run.id]);
  const first = samples.data?.pages[0];
  const items = useMemo(() => {
    const value = SORTS[sort.key];
    return (samples.data?.pages.flatMap((page) => page.items) ?? []).toSorted((a, b) => ((value(a) ?? -Infinity) - (value(b) ?? -Infinity)) * (sort.down ? -1 : 1));
  }, [samples.data, sort.key, sort.down]);
  const before = useRef<readonly number[]>(undefined);
  const steps = (first ?? newest.data?.pages[0])?.steps ?? before.current; // the control stays where one answer of many fails
  before.current = steps;
  const wrong = samples.isError && !first && <Failure title={asked === null ? 'The samples cannot be shown' : `The samples of step ${asked} cannot be shown`} error={samples.error} />;
  if (!steps?.length && wrong) return wrong;
  if (!steps) return <Skeleton height={420} />;
  if (steps.length === 0) return <div className="panel box muted">No samples yet: the first ones are written by the evaluation at step 0.{run.algorithm === 'reward_model' && ' A reward model writes none.'}</div>;
  const shown = asked ?? (first ? String(first.step) : null); // where the hand is, not what has been answered
  const at = steps.map(String).indexOf(shown ?? '');
  const none = first && !samples.isPlaceholderData && at < 0 && <Failure title={`There are no samples of step ${shown}`}><p>Choose one of the evaluations above.</p></Failure>;
  const go = (step: number | undefined): void => { if (step !== undefined) ask(String(step)); };
  const arrow = (key: Key): string => (sort.key === key ? (sort.down ? ' ↓' : ' ↑') : '');
  const sorted = (key: Key) => (sort.key === key ? (sort.down ? 'descending' : 'ascending') : 'none');
  const by = (key: Key, down: boolean): void => set('sort', key === 'prompt' && !down ? null : `${down ? '-' : ''}${key}`);
  const has = { gold: items.some((one) => one.gold !== null), kl: items.some((one) => one.kl !== null), reward: items.some((one) => one.reward !== null) };
  const columns: [Key, string, boolean][] = [['reward', 'Reward', has.reward], ['gold', 'Gold', has.gold], ['kl', 'KL, nats', has.kl], ['length', 'Tokens', true], ['finished', 'Finished', true]];
  return (
    <div className="panel" style={{ overflow: 'hidden' }}>
      <Group gap={8} p={10} style={{ borderBottom: '1px solid var(--c-border)' }}>
        <span className="muted" style={{ fontSize: 13 }} id="step-label">Step</span>
        <ActionIcon variant="default" aria-label="Earlier evaluation" disabled={at <= 0} onClick={() => go(steps[at - 1])}><IconChevronLeft size={16} /></ActionIcon>
        <Select aria-labelledby="step-label" size="xs" w={96} searchable allowDeselect={false} value={shown} data={steps.map(String)} onChange={(value) => go(value === null ? undefined : Number(value))} data-testid="samples-step" />
        <ActionIcon variant="default" aria-label="Later evaluation" disabled={at < 0 || at >= steps.length - 1} onClick={() => go(steps[at + 1])}><IconChevronRight size={16} /></ActionIcon>
        {steps.length > 1 && <input type="range" aria-label="Evaluation" aria-valuetext={`Step ${shown}`} min={0} max={steps.length - 1} value={Math.max(0, at)} onChange={(event) => go(steps[Number(event.currentTarget.value)])} style={{ width: 180, accentColor: 'var(--c-accent)' }} />}
        <Link className="push" style={{ fontSize: 13 }} to={`/samples?column=${run.id}@first&column=${run.id}@${asked ?? 'last'}`}>Side by side</Link>
        {run.state === 'succeeded' && <Link style={{ fontSize: 13 }} to={`/playground?run=${run.id}`}>Try a prompt</Link>}
        {first && !none && <span className="muted num" style={{ fontSize: 13 }}>{items.length} of {first.total} prompts</span>}
      </Group>
      {(wrong || none) && <div style={{ padding: 14 }}>{wrong || none}</div>}
      {!first && !wrong && <Skeleton height={420} />}
      {first && !none && <div style={{ overflowX: 'auto' }} tabIndex={0} role="region" aria-label="Samples" aria-busy={samples.isPlaceholderData}>
        <table className="samples cards" data-testid="samples-table" data-step={first.step}>
          <thead><tr>
            <th aria-sort={sorted('prompt')}><UnstyledButton fz={12} fw={560} onClick={() => by('prompt', sort.key === 'prompt' && !sort.down)}>Prompt{arrow('prompt')}</UnstyledButton></th>
            <th>Completion</th>
            {columns.filter(([, , shown]) => shown).map(([key, label]) => (
              <th key={key} className="n" aria-sort={sorted(key)}><UnstyledButton fz={12} fw={560} onClick={() => by(key, sort.key !== key || !sort.down)}>{label}{arrow(key)}</UnstyledButton></th>
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
      </div>}
      {samples.hasNextPage && <Group justify="center" p={12}><Button variant="default" size="xs" loading={samples.isFetchingNextPage} onClick={() => void samples.fetchNextPage()}>More prompts</Button></Group>}
    </div>
  );
}
