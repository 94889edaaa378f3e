/** Small things that every page shows: chips, progress, errors, copy buttons. */
import { Button } from '@mantine/core';
import { IconCheck, IconCopy } from '@tabler/icons-react';
import { type CSSProperties, type ReactNode, useEffect, useState } from 'react';
import type { RunState, RunSummary } from '../api/client';
import { messageOf } from '../api/client';
import { duration, number, words } from '../format';
import { copy as copyOut } from './copying';
import { Offers } from './offers';

const colour = (name: string): CSSProperties => ({ '--chip': `var(${name})` }) as CSSProperties;

export function StateChip({ state, testId }: { state: RunState; testId?: string }) {
  return (
    <span className={`chip ${state}`} style={colour(`--state-${state}`)} data-testid={testId} data-state={state}>
      <i className="dot" aria-hidden />
      {words(state)}
    </span>
  );
}

const NAMES: Record<string, string> = { copg: 'CoPG', dpo: 'DPO', ipo: 'IPO', policy_gradient: 'Policy gradient', sft: 'SFT', trial: 'Playground', reward_model: 'Reward model', pg: 'PG, no baseline', pg_value: 'PG, value baseline', rloo: 'RLOO, on-policy' };
export const algorithmName = (algorithm: string): string => NAMES[algorithm] ?? words(algorithm);
export const algorithmStyle = (algorithm: string): CSSProperties => colour(`--alg-${algorithm}`);
export function AlgorithmChip({ algorithm, variant }: { algorithm: string; variant?: string | null }) {
  return <span className="chip alg" style={algorithmStyle(algorithm)}>{algorithmName(algorithm)}{variant && ` (${variant})`}</span>;
}

/** Where a run stands: the bar, its step, and what it does or how long it still needs. */
export function Progress({ run }: { run: RunSummary }) {
  const inStage = run.state === 'running' && run.stage !== null && run.stage !== 'training' && run.stage_total > 0;
  const share = run.total_steps ? Math.min(1, run.step / run.total_steps) : 0;
  const left =
    run.state !== 'running' ? '' : inStage ? `${words(run.stage!)} ${number(run.stage_done)}/${number(run.stage_total)}`
    : run.remaining_seconds !== null ? `${duration(run.remaining_seconds)} left` : run.stage ? words(run.stage) : '';
  return (
    <div className="progress num" style={colour(`--state-${run.state}`)}>
      <div className="line">
        <span>{run.step || run.total_steps ? `${number(run.step)} / ${number(run.total_steps)}` : <span className="muted">not started</span>}</span>
        <span className="muted cut">{left}</span>
      </div>
      <div className="bar" role="progressbar" aria-label={`Progress of ${run.name}`} aria-valuemin={0} aria-valuemax={100} aria-valuenow={Math.round(share * 100)}>
        <i style={{ width: `${share * 100}%` }} />
      </div>
    </div>
  );
}

export function Failure({ title, error, children }: { title: string; error?: unknown; children?: ReactNode }) {
  return (
    <div className="alert" role="alert">
      <strong>{title}</strong>
      {error !== undefined && <p>{messageOf(error)}</p>}
      {children}
    </div>
  );
}

/** `group`: the palette offers it too, under this name. */
export function Copy({ text, label = 'Copy', group }: { text: string; label?: string; group?: string }) {
  const [copied, setCopied] = useState(false);
  useEffect(() => {
    if (!copied) return;
    const soon = setTimeout(() => setCopied(false), 1000);
    return () => clearTimeout(soon);
  }, [copied]);
  const copy = (): void => void copyOut(text, () => setCopied(true));
  return (
    <>
      {group && <Offers group={group} offers={[{ id: 'copy', label, act: copy }]} />}
      <Button size="compact-xs" variant="default" onClick={copy} leftSection={copied ? <IconCheck size={13} /> : <IconCopy size={13} />}>
        {copied ? 'Copied' : label}
      </Button>
    </>
  );
}
