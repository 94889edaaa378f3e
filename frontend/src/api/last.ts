/** The last good answer to a question that is asked again and again, and that changes while somebody types. */
import { useState } from 'react';

export interface Last<A> {
  answer: A | undefined;
  /** Whether it is the answer to this very question, and not to one before it. */
  same: boolean;
  /** Why this question was not answered, or not anew. It stays while it is asked again: nothing flickers. */
  error: Error | null;
}

export function lasting<A>(): (question: string, asked: { data: A | undefined; error: Error | null }) => Last<A> {
  let good: { question: string; answer: A } | undefined;
  let bad: { question: string; error: Error } | undefined;
  return (question, { data, error }) => {
    if (error) bad = { question, error };
    else if (data !== undefined) bad = undefined;
    if (data !== undefined) good = { question, answer: data };
    return { answer: good?.answer, same: good?.question === question, error: bad?.question === question ? bad.error : null };
  };
}

/** `asked` is of this `question` alone: it holds no placeholder of another. */
export const useLast = <A>(question: unknown, asked: { data: A | undefined; error: Error | null }): Last<A> => useState(lasting<A>)[0](JSON.stringify(question), asked);

/** What to say beside the answer, where there is one: `before` is what the shown one belongs to. */
export const lateness = ({ same, error }: Last<unknown>, before: string): string => (error ? (same ? `Not up to date: ${error.message}` : `${before}: ${error.message}`) : '');
