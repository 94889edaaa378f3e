/** What one look at the file found: counts, doubles, shared prompts, the first rows. */
import type { ReactNode } from 'react';
import type { DataReport, RowTokens } from '../../api/client';
import { number, words } from '../../format';

const count = (value: number): string => value.toLocaleString('en-GB');
const DROPPED: Record<string, string> = { empty_completion: 'have an empty completion', identical_pair: 'have two equal completions, a tie', no_common_prompt: 'are dialogues without a common prompt' };
const LIMIT = 12;

export function Findings({ report }: { report: DataReport }) {
  const { duplicates, contrast } = report;
  const about = duplicates.one_of > 1 ? 'about ' : '';
  const lines: [number, string, boolean?][] = [
    ...Object.entries(report.dropped).map(([why, rows]) => [rows, `rows ${DROPPED[why] ?? words(why)}: no run uses them`, true] as [number, string, boolean]),
    [duplicates.rows, 'rows are equal to an earlier one', duplicates.rows > 0],
    [duplicates.distinct_prompts, `different prompts; ${about}${count(duplicates.prompts)} rows repeat one`],
    [duplicates.distinct_prompts - duplicates.distinct_normalised_prompts, 'prompts differ from another in case, punctuation or spacing only'],
    ...(report.pairs ? [[duplicates.swapped_pairs, report.rewards === 'order' ? 'pairs stand here in both orders, so that the rows contradict each other' : 'pairs stand here in both orders', report.rewards === 'order' && duplicates.swapped_pairs > 0] as [number, string, boolean]] : []),
    ...(report.empty_prompts ? [[report.empty_prompts, 'rows have no prompt', true] as [number, string, boolean]] : []),
    ...(contrast ? [[contrast.zeros, 'pairs have equal rewards'] as [number, string]] : []),
  ];
  return (
    <section className="panel box" data-testid="findings">
      <h2>What is in it</h2>
      <dl className="finding">{lines.map(([value, text, odd]) => <div key={text} style={{ display: 'contents' }}><dt className={odd ? 'warn' : undefined}>{about && text.startsWith('rows are') ? '≈ ' : ''}{count(value)}</dt><dd>{text}</dd></div>)}</dl>
      <p className="note" style={{ marginTop: 10 }}>{report.rewards === 'order' ? 'It says which completion is better, not by how much.' : contrast ? <>Rewards differ by {number(contrast.mean, 3)} ± {number(contrast.deviation, 3)} reward units (mean and standard deviation), {number(contrast.min, 3)} to {number(contrast.max, 3)}.</> : report.pairs ? 'It has no rewards: a run needs a reward model or a function.' : report.completions === 0 ? 'It has prompts alone: for runs whose policy writes every completion.' : 'It has single completions: for supervised fine-tuning.'}{duplicates.one_of > 1 && ` Doubles are estimated from one of ${duplicates.one_of} texts.`}</p>
    </section>
  );
}

export function Splits({ report }: { report: DataReport }) {
  const splits = report.splits!;
  return (
    <section className="panel box" data-testid="splits">
      <h2>Parts by <code>{splits.column}</code></h2>
      <table className="parts num"><tbody>{splits.values.map((one) => <tr key={one.name}><td>{one.name}</td><td>{count(one.rows)} rows, {count(one.prompts)} prompts</td></tr>)}</tbody></table>
      <p className="note" style={{ marginTop: 10 }}>{splits.overlaps.every((one) => one.normalised === 0) ? 'No prompt stands in two of them, not even in other spelling.' : 'Prompts that stand in two of them:'}</p>
      <dl className="finding">{splits.overlaps.filter((one) => one.normalised > 0).slice(0, LIMIT).map((one) => <div key={one.first + one.second} style={{ display: 'contents' }}><dt className="warn">{count(one.prompts)}</dt><dd>{one.first} and {one.second}{one.normalised !== one.prompts && `; ${count(one.normalised)} without case, punctuation and spacing`}</dd></div>)}</dl>
    </section>
  );
}

export function Rows({ report, tokens }: { report: DataReport; tokens: readonly RowTokens[] }) {
  const counted = new Map(tokens.map((one) => [one.row, one]));
  const most = Math.max(0, ...report.preview.map((row) => row.completions.length));
  const names = most < 2 ? ['Completion'] : report.rewards === 'order' ? ['Chosen', 'Rejected'] : ['Completion 1', 'Completion 2'];
  const columns = Array.from({ length: most }, (_, index) => names[index] ?? `Completion ${index + 1}`);
  return (
    <section className="panel" data-testid="rows" aria-label="First rows" style={{ overflow: 'hidden' }}>
      <h2 style={{ fontSize: 14, fontWeight: 600, margin: 0, padding: '14px 16px 10px' }}>First rows</h2>
      <div className="rows-box" tabIndex={0} role="region" aria-label="First rows">
        <table className="samples">
          <thead><tr><th className="n">Row</th><th>Prompt</th>{columns.map((name) => <th key={name}>{name}</th>)}</tr></thead>
          <tbody>{report.preview.map((row) => (
            <tr key={row.row}>
              <td className="n muted">{row.row}</td>
              <Cell text={row.prompt} length={row.prompt_length} tokens={counted.get(row.row)?.prompt} />
              {columns.map((name, index) => <Cell key={name} text={row.completions[index] ?? ''} length={row.completion_lengths[index]} tokens={counted.get(row.row)?.completions[index]} extra={row.rewards ? <>reward {number(row.rewards[index])}</> : undefined} />)}
            </tr>
          ))}</tbody>
        </table>
      </div>
    </section>
  );
}

function Cell({ text, length, tokens, extra }: { text: string; length: number | undefined; tokens: number | undefined; extra?: ReactNode }) {
  return <td className="text"><span className="clip" title={text.slice(0, 1500)}>{text || <span className="muted">(empty)</span>}</span>{length !== undefined && <span className="len num">{count(length)} characters{tokens !== undefined && `, ${count(tokens)} tokens`}{extra && <>, {extra}</>}</span>}</td>;
}
