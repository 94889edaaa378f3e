/** What is known of a data set, in a few words. */
import type { CSSProperties } from 'react';
import type { DataSet } from '../../api/client';

const chip = (name: string): CSSProperties => ({ '--chip': `var(${name})` }) as CSSProperties;

type Known = Pick<DataSet, 'state' | 'shape' | 'rows_read' | 'deleted_at' | 'source' | 'error'>;

/** As it is read out: without the count of rows, which changes every second. */
export const stateOf = (set: Known): string =>
  set.deleted_at ? 'Deleted' : set.state === 'analysing' ? 'Analysing' : set.state === 'unreadable' ? 'Cannot be read' : set.shape ? `Analysed: ${set.shape}` : '';

export function DataState({ set }: { set: Known }) {
  if (set.deleted_at) return <span className="chip" style={chip('--c-muted')}>deleted</span>;
  if (set.state === 'analysing') return <span className="chip running" style={chip('--state-running')} data-testid="analysing"><i className="dot" aria-hidden />analysing{set.rows_read ? `, ${set.rows_read.toLocaleString('en-GB')} rows` : ''}</span>;
  if (set.state === 'unreadable') return <span className="chip" style={chip('--c-danger')} title={set.error ?? undefined}>cannot be read</span>;
  if (set.source.kind === 'hub') return <span className="muted">read when a run starts</span>;
  if (set.source.kind === 'task') return <span className="muted">generated, with a gold reward</span>;
  return set.shape ? <span>{set.shape}</span> : <span className="muted">not analysed</span>;
}
