/** What a run asks of the queue. Empty means the server's own choice, so that nothing is said twice. */
import { NumberInput } from '@mantine/core';
import { useState } from 'react';

export interface Asked { gpus?: number; priority?: number; max_seconds?: number; max_attempts?: number }

const FIELDS: [key: keyof Asked, label: string, help: string, empty: number | null, min: number, max: number, scale: number][] = [
  ['gpus', 'GPUs', 'of one worker, all at once; 0 is the processor. Empty: one where there is any.', null, 0, 64, 1],
  ['priority', 'Priority', 'A higher one is trained first. Empty: 0.', 0, -100, 100, 1],
  ['max_seconds', 'Time limit (hours)', 'Then it keeps a checkpoint and stops; resuming grants the time again. Empty: none.', null, 1 / 3600, 27_000, 3600],
  ['max_attempts', 'Attempts', 'after a lost worker or a killed process. Empty: 3.', 3, 1, 20, 1],
]; // prettier-ignore

/** What a run asks that was made with something else than empty fields: a clone asks the same. */
export function askedBy(run: Readonly<Record<keyof Asked, number | null>> | undefined): Asked {
  return Object.fromEntries(FIELDS.filter(([key, , , empty]) => run && run[key] !== empty).map(([key]) => [key, run![key]]));
}

/** That two of them with the same values are the same text, in whichever order they were typed. */
const inOrder = (asked: Asked): Asked => Object.fromEntries(FIELDS.filter(([key]) => asked[key] !== undefined).map(([key]) => [key, asked[key]]));

export function Scheduling({ asked, many, change }: { asked: Asked; many: boolean; change: (asked: Asked) => void }) {
  const [open] = useState(() => Object.keys(asked).length > 0);
  return (
    <details className="panel scheduling" open={open}>
      <summary>Advanced: GPUs, priority, time limit{many ? ' of each run' : ''}</summary>
      <div>
        {FIELDS.map(([key, label, help, , min, max, scale]) => (
          <NumberInput
            key={key} size="sm" label={label} description={help} inputWrapperOrder={['label', 'input', 'description']} min={min} max={max} allowDecimal={scale !== 1} value={asked[key] === undefined ? '' : Number((asked[key] / scale).toPrecision(6))}
            onChange={(value) => { const next = { ...asked }; if (value === '' || !Number.isFinite(Number(value))) delete next[key]; else next[key] = Number(value) * scale; change(inOrder(next)); }}
          />
        ))}
      </div>
    </details>
  );
}
