/** What each run wrote for the prompt, side by side, with its scores. */
import { Button, Skeleton, Tooltip } from '@mantine/core';
import { Link } from 'react-router';
import type { Trial } from '../../api/client';
import { May } from '../../api/session';
import { Offers } from '../../components/offers';
import { AlgorithmChip, Failure, StateChip } from '../../components/parts';
import { number, reward } from '../../format';
import { withError } from '../sweeps/parts';
import { isActive, useStop } from './queries';

type Answer = Trial['answers'][number];

export function Answers({ trial }: { trial: Trial }) {
  const stop = useStop();
  return (
    <section className="panel answers" aria-label="Answers" aria-busy={isActive(trial)} data-testid="answers" data-state={trial.state}>
      <header>
        <StateChip state={trial.state} />
        <span className="muted" role="status">{told(trial)}</span>
        {isActive(trial) && trial.state !== 'cancelling' && <May scope="launch"><Offers group="Playground" offers={[{ id: 'stop', label: 'Stop writing', act: () => { if (!stop.isPending) stop.mutate(trial.id); } }]} /><Button className="push" size="compact-xs" variant="default" loading={stop.isPending} onClick={() => stop.mutate(trial.id)}>Stop</Button></May>}
      </header>
      {stop.isError && <Failure title="Not stopped" error={stop.error} />}
      {trial.state === 'failed' && <Failure title="No answer" error={new Error(trial.error ?? 'The worker did not say why.')} />}
      <p className="asked">{trial.prompt}</p>
      <div className="cells" style={{ gridTemplateColumns: `repeat(${trial.answers.length}, minmax(220px, 1fr))` }} tabIndex={0} role="group" aria-label="Completions of each run">
        {trial.answers.map((answer, at) => <Column key={at} answer={answer} trial={trial} />)}
      </div>
    </section>
  );
}

function told(trial: Trial): string {
  const drawn = `temperature ${number(trial.temperature, 2)}, at most ${number(trial.max_new_tokens)} tokens, seed ${trial.seed}`;
  if (trial.state === 'queued') return 'waits in the queue';
  if (isActive(trial)) return trial.stage === 'evaluating' ? 'writing' : trial.stage === 'reference' ? 'measuring KL' : 'loading the models';
  return trial.reward ? `${drawn}; scored by ${trial.reward}` : `${drawn}; not scored: ${trial.unscored ?? 'no reward'}`;
}

function Column({ answer, trial }: { answer: Answer; trial: Trial }) {
  const written = answer.completions.length > 0;
  return (
    <div className="answer" data-testid="answer">
      <h2>{answer.name === null ? <span className="muted">a run deleted since</span> : <Link to={`/runs/${answer.run}`} title={answer.name}>{answer.name}</Link>}{answer.algorithm && <AlgorithmChip algorithm={answer.algorithm} />}</h2>
      <p className="muted num means">{written ? <>{means(answer, trial)}{answer.unmeasured && <>, <NoKL why={answer.unmeasured} /></>}</> : isActive(trial) && answer.error === null ? 'yet to write' : 'wrote nothing'}</p>
      {[answer.error, answer.unscored && `Not scored: ${answer.unscored}`, answer.warning].map((one, at) => one && <p key={at} className="warn">{one[0]!.toUpperCase() + one.slice(1)}</p>)}
      {answer.chat_template && !trial.chat && <p className="warn">This run’s tokenizer has a chat template; the prompt was given as plain text.</p>}
      {answer.chat_template === false && trial.chat && <p className="warn">This run’s tokenizer has no chat template; the prompt was given as plain text.</p>}
      {Boolean(answer.unknown_tokens) && <p className="warn">{number(answer.unknown_tokens)} of the prompt’s {number(answer.prompt_tokens)} tokens are unknown to this run’s tokenizer.</p>}
      {Boolean(answer.prompt_tokens_dropped) && <p className="warn">The first {number(answer.prompt_tokens_dropped)} tokens of the prompt were cut off: the run was trained with shorter ones.</p>}
      {!written && isActive(trial) && answer.error === null && Array.from({ length: trial.completions }, (_, at) => <Skeleton key={at} height={64} />)}
      <ol>
        {answer.completions.map((one, at) => (
          <li key={at}>
            <p className="text">{one.text || <span className="muted">(empty)</span>}</p>
            <p className="scores num">
              {one.reward !== null && <span title="Reward">{reward(one.reward)}</span>}
              {one.gold !== null && <span className="gold">gold {reward(one.gold)}</span>}
              {one.kl !== null && <span className="muted">KL {number(one.kl, 3)}</span>}
              <span className="muted">{number(one.length)} token{one.length === 1 ? '' : 's'}</span>
              {!one.finished && <span className="cut-off">cut off</span>}
            </p>
          </li>
        ))}
      </ol>
    </div>
  ); // prettier-ignore
}

/** A button, so that a finger and the keyboard find out as well. */
function NoKL({ why }: { why: string }) {
  return <Tooltip label={why} multiline maw={300} openDelay={0} events={{ hover: true, focus: true, touch: true }}><button type="button" className="no-kl">no KL</button></Tooltip>;
}

function means(answer: Answer, trial: Trial): string {
  const parts = [answer.reward_mean !== null && `mean reward ${withError(answer.reward_mean, answer.reward_stderr)}`, trial.has_gold && answer.gold_mean !== null && `gold ${withError(answer.gold_mean, answer.gold_stderr)}`, answer.kl !== null && `KL ${withError(answer.kl, answer.kl_stderr)}`];
  return [...parts.filter(Boolean), `n = ${answer.completions.length}`].join(', ');
}
