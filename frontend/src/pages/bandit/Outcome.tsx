/** Where each algorithm stands after the last step, where it would end, and why. */
import { Skeleton } from '@mantine/core';
import { memo } from 'react';
import type { BanditFigures } from '../../api/client';
import { AlgorithmChip } from '../../components/parts';
import { NONE, number } from '../../format';

const fixed = (value: number): string => (value < 5e-5 ? '0.0000' : value.toFixed(4));
const policy = (shares: readonly number[]): string => shares.map((share) => share.toFixed(3)).join('  ');

export const Outcome = memo(function Outcome({ answer, wrong }: { answer: BanditFigures | null; wrong: boolean }) {
  return (
    <section className="panel outcome" aria-label="Limits">
      <div className="title">
        <h2>After {answer ? number(answer.steps) : NONE} steps, and in the limit</h2>
        <span className="muted">regret in reward units{answer && answer.seeds > 1 ? `, mean ± standard error, n = ${answer.seeds} seeds` : ''}; the reference’s is {answer ? fixed(answer.start_regret) : NONE}. Limits are those of infinitely many pairs and steps.</span>
      </div>
      <div className="scroll">
        <table className="samples" data-testid="outcome">
          <thead><tr><th scope="col">Algorithm</th><th scope="col" className="n">Regret</th><th scope="col" className="n">Limit</th><th scope="col">Final policy</th><th scope="col">Why the limit lies there</th></tr></thead>
          <tbody>
            {answer ? (
              <>
                {answer.rows.map((row) => (
                  <tr key={row.algorithm} data-testid={`outcome-${row.algorithm}`}>
                    <th scope="row"><AlgorithmChip algorithm={row.algorithm} /></th>
                    <td className="n">{fixed(row.regret)}{row.regret_stderr !== null && <span className="muted"> ± {fixed(row.regret_stderr)}</span>}</td>
                    <td className="n">{row.limit_regret === null ? 'open' : fixed(row.limit_regret)}</td>
                    <td className="shares num">{policy(row.final_policy)}</td>
                    <td className="why">{row.limit_reason}</td>
                  </tr>
                ))}
                <tr><th scope="row"><span className="chip alg optimum">Optimum</span></th><td className="n">0.0000</td><td className="n">0.0000</td><td className="shares num">{policy(answer.optimal_policy)}</td><td className="why">π* ∝ π_ref exp(R/β), with J(π*) = {number(answer.optimal_value, 6)}</td></tr>
              </>
            ) : <tr><td colSpan={5}>{wrong ? <span className="muted">Computed as soon as what is wrong is put right.</span> : <Skeleton height={150} />}</td></tr>}
          </tbody>
        </table>
      </div>
    </section>
  ); // prettier-ignore
});
