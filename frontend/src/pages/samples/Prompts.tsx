/** A prompt and below it a cell for each column: the completion with what is new in it marked, and its scores. */
import { Button } from '@mantine/core';
import { useState } from 'react';
import type { SideBySide } from '../../api/client';
import { number, reward } from '../../format';

type Columns = SideBySide['columns'];
type Row = SideBySide['items'][number];
const LONG = 260; // characters of a prompt that are shown at once

const signed = (given: number): string => `${given > 0 ? '+' : ''}${reward(given)}`;

export function Prompts({ columns, rows, gold, only }: { columns: Columns; rows: readonly Row[]; gold: boolean; only: boolean }) {
  if (rows.length === 0) return <p className="muted none">{only ? 'No prompt is like that.' : 'No samples yet: the first ones are written by the evaluation at step 0.'}</p>;
  return <ol className="rows" data-testid="samples-rows">{rows.map((row) => <Prompt key={row.key} row={row} columns={columns} gold={gold} />)}</ol>;
}

function Prompt({ row, columns, gold }: { row: Row; columns: Columns; gold: boolean }) {
  const [whole, setWhole] = useState(false);
  const long = row.prompt.length > LONG;
  return (
    <li>
      <p className="prompt">
        {whole || !long ? row.prompt : `…${row.prompt.slice(-LONG)}`}
        {long && <Button variant="subtle" size="compact-xs" onClick={() => setWhole(!whole)}>{whole ? 'Shorten' : 'Whole prompt'}</Button>}
      </p>
      <div className="cells" style={{ gridTemplateColumns: `repeat(${columns.length}, minmax(190px, 1fr))` }} tabIndex={0} role="group" aria-label="Completions">
        {row.cells.map((cell, at) => (
          <div className="cell" key={at}>
            <span className="muted label">{columns[at]!.label}</span>
            {!cell ? <p className="muted">this run did not have the prompt</p> : (
              <>
                <p className="text">{cell.pieces.length === 0 || cell.pieces.every((piece) => piece.text === '') ? <span className="muted">(empty)</span> : cell.pieces.map((piece, place) => (piece.new ? <mark key={place}>{piece.text}</mark> : piece.text))}</p>
                <p className="scores num">
                  <span title="Reward">{reward(cell.reward)}</span>
                  {cell.gain !== null && <Change by={cell.gain} />}
                  {gold && cell.gold !== null && <span className="gold">gold {reward(cell.gold)}</span>}
                  {cell.kl !== null && <span className="muted">KL {number(cell.kl, 3)}</span>}
                  <span className="muted">{number(cell.length)} token{cell.length === 1 ? '' : 's'}</span>
                  {!cell.finished && <span className="cut-off">cut off</span>}
                  {cell.same && <span className="muted">same words</span>}
                </p>
              </>
            )}
          </div>
        ))}
      </div>
    </li>
  ); // prettier-ignore
}

const Change = ({ by }: { by: number }) => (by === 0 ? null : <span className={by > 0 ? 'up' : 'down'}>{signed(by)}</span>);
