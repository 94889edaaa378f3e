/**
 * The newest question wins: one request in flight, at most one waiting, and the next one leaves before the answer is shown.
 *
 * A request that is quick to answer is let finish, because a server cannot be called back: a drag shows its answers one
 * after the other. Only a thorough one is abandoned as soon as something newer is asked.
 */
export interface LatestPorts<Question, Answer> {
  fetch(question: Question, signal: AbortSignal): Promise<Answer>;
  show(answer: Answer, question: Question): void;
  failed(error: unknown, question: Question): void;
}

export class Latest<Question extends { live: boolean }, Answer> {
  private current: { question: Question; abort: AbortController } | null = null;
  private next: Question | null = null;

  constructor(private readonly ports: LatestPorts<Question, Answer>) {}

  ask(question: Question): void {
    if (this.current && this.current.question.live) {
      this.next = question;
      return;
    }
    this.current?.abort.abort();
    this.send(question);
  }

  stop(): void {
    this.next = null;
    const open = this.current;
    this.current = null;
    open?.abort.abort();
  }

  private send(question: Question): void {
    const mine = { question, abort: new AbortController() };
    this.current = mine;
    this.ports.fetch(question, mine.abort.signal).then(
      (answer) => this.done(mine) && this.ports.show(answer, question),
      (error: unknown) => this.done(mine) && this.ports.failed(error, question),
    );
  }

  /** Whether this request is still the one that counts; if so the waiting one leaves. */
  private done(mine: { question: Question; abort: AbortController }): boolean {
    if (this.current !== mine) return false;
    this.current = null;
    const next = this.next;
    this.next = null;
    if (next) this.send(next);
    return true;
  }
}
