import { expect, test } from 'vitest';
import { Latest } from './latest';

interface Question { name: string; live: boolean }

/** A server whose answers are given by hand, and a log of what happened. */
function server() {
  const log: string[] = [];
  const open = new Map<string, { answer: (value: string) => void; fail: (error: Error) => void }>();
  const latest = new Latest<Question, string>({
    fetch: (question, signal) => {
      log.push(`ask ${question.name}`);
      signal.addEventListener('abort', () => log.push(`abort ${question.name}`));
      return new Promise((answer, fail) => open.set(question.name, { answer, fail }));
    },
    show: (answer) => void log.push(`show ${answer}`),
    failed: (error) => void log.push(`failed ${(error as Error).message}`),
  });
  return { log, open, latest };
}
const settled = (): Promise<void> => new Promise((done) => setTimeout(done));

test('of many questions during a request only the newest is asked, before the answer is shown', async () => {
  const { log, open, latest } = server();
  for (const name of ['a', 'b', 'c']) latest.ask({ name, live: true });
  expect(log).toEqual(['ask a']);
  open.get('a')!.answer('A');
  await settled();
  expect(log).toEqual(['ask a', 'ask c', 'show A']);
});

test('a thorough request is abandoned for something newer, and its late answer is not shown', async () => {
  const { log, open, latest } = server();
  latest.ask({ name: 'full', live: false });
  latest.ask({ name: 'drag', live: true });
  open.get('full')!.answer('FULL');
  open.get('drag')!.answer('DRAG');
  await settled();
  expect(log).toEqual(['ask full', 'abort full', 'ask drag', 'show DRAG']);
});

test('a failure is told and does not stop the next question', async () => {
  const { log, open, latest } = server();
  latest.ask({ name: 'a', live: true });
  latest.ask({ name: 'b', live: true });
  open.get('a')!.fail(new Error('422'));
  await settled();
  open.get('b')!.answer('B');
  await settled();
  expect(log).toEqual(['ask a', 'ask b', 'failed 422', 'show B']);
});

test('after stop nothing is shown', async () => {
  const { log, open, latest } = server();
  latest.ask({ name: 'a', live: true });
  latest.stop();
  open.get('a')!.answer('A');
  await settled();
  expect(log).toEqual(['ask a', 'abort a']);
});
