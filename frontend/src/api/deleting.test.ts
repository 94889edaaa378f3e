import { describe, expect, it, vi } from 'vitest';
import { ApiError } from './client';
import { begin, type Deletion, finish, finishNow, isDeleting, leaveAll, refusalOf, sendOff, takeBack, takeBackId } from './deleting';

function deletion(ids: string[], perform: () => Promise<unknown> = () => Promise.resolve()) {
  return { ids, perform: vi.fn(perform), leave: vi.fn() } satisfies Deletion;
}

/** Whether it is hidden: what is being deleted is not deleted a second time. */
function hidden(id: string): boolean {
  const probe = deletion([id]);
  return !begin(probe) || !takeBack(probe);
}

describe('a deletion', () => {
  it('that is taken back never reaches the server, and can be made again', async () => {
    const one = deletion(['a']);
    expect(begin(one)).toBe(true);
    expect(hidden('a')).toBe(true);
    expect(takeBack(one)).toBe(true);
    expect(hidden('a')).toBe(false);
    await finish(one); // the notice closes after it
    expect(one.perform).not.toHaveBeenCalled();
    expect(begin(one)).toBe(true);
    await finish(one);
    expect(one.perform).toHaveBeenCalledOnce();
  });

  it('stays hidden until the server has answered, and cannot be taken back meanwhile', async () => {
    let answer = (): void => undefined;
    const one = deletion(['a'], () => new Promise<void>((done) => { answer = done; }));
    begin(one);
    const finished = finish(one);
    expect(takeBack(one)).toBe(false);
    expect(hidden('a')).toBe(true);
    answer();
    await finished;
    expect(hidden('a')).toBe(false);
  });

  it('that the server refuses comes back, and the refusal is told', async () => {
    const one = deletion(['a', 'b'], () => Promise.reject(new Error('a run needs it')));
    begin(one);
    await expect(finish(one)).rejects.toThrow('a run needs it');
    expect(hidden('a')).toBe(false);
    expect(hidden('b')).toBe(false);
  });

  it('leaves others as they are', async () => {
    const [one, other] = [deletion(['a']), deletion(['b', 'c'])];
    begin(one);
    begin(other);
    expect(begin(deletion(['c', 'd']))).toBe(false);
    expect(hidden('d')).toBe(false);
    takeBack(one);
    expect(hidden('b')).toBe(true);
    await finish(other);
    expect(one.perform).not.toHaveBeenCalled();
    expect(other.perform).toHaveBeenCalledOnce();
  });

  it('is taken back by its name, and its notice closes', async () => {
    const [one, other] = [deletion(['a']), deletion(['b'])];
    const close = vi.fn(() => void finish(one));
    begin(one, close);
    begin(other);
    expect(takeBackId('x')).toBe(false);
    expect(takeBackId('a')).toBe(true);
    expect(close).toHaveBeenCalledOnce();
    expect([isDeleting('a'), isDeleting('b')]).toEqual([false, true]);
    expect(one.perform).not.toHaveBeenCalled();
    void finish(other);
    expect(takeBackId('b')).toBe(false); // its time was up
    await finishNow();
  });

  it('is over when the server has answered, also where it was sent before or is refused', async () => {
    const answers: (() => void)[] = [];
    const slow = () => new Promise<void>((done) => answers.push(done));
    const [sentBefore, one, refused, other] = [deletion(['a'], slow), deletion(['b'], slow), deletion(['c'], () => Promise.reject(new Error('a run needs it'))), deletion(['d'])];
    [sentBefore, one, refused].forEach((each) => begin(each));
    begin(other, () => void finish(other));
    void finish(sentBefore);
    await finishNow('x');
    expect(other.perform).not.toHaveBeenCalled();
    await finishNow('d');
    expect([other, one].map(({ perform }) => perform.mock.calls.length)).toEqual([1, 0]);
    let over = false;
    const all = finishNow().then(() => { over = true; });
    await new Promise((later) => setTimeout(later));
    expect([over, answers.length]).toEqual([false, 2]);
    answers.forEach((answer) => answer());
    await all;
    expect(['a', 'b', 'c', 'd'].map(isDeleting)).toEqual([false, false, false, false]);
  });

  it('that waits still counts for the server, which a refusal of another explains', () => {
    const conflict = (status: number) => new ApiError({ title: '', status, detail: 'Another run needs it', errors: [] });
    expect(refusalOf(conflict(409))).toBe('Another run needs it');
    const one = deletion(['a']);
    begin(one);
    expect(refusalOf(conflict(409))).toBe('Another run needs it. What was deleted a moment ago still counts until its notice is closed.');
    expect(refusalOf(new Error('child: it is needed.'))).toMatch(/^child: it is needed. What was/);
    expect(refusalOf(conflict(0))).toBe('Another run needs it'); // no refusal: the server was not heard
    takeBack(one);
  });

  it('is sent by a page that goes away, unless it was taken back, and not again should the page come back', async () => {
    const [kept, one, asked] = [deletion(['a']), deletion(['b']), deletion(['c'], () => new Promise(() => undefined))];
    [kept, one, asked].forEach((each) => begin(each));
    takeBack(kept);
    void finish(asked);
    leaveAll();
    expect([kept, one, asked].map(({ leave }) => leave.mock.calls.length)).toEqual([0, 1, 1]);
    expect(takeBack(one)).toBe(false);
    await finish(one);
    expect(one.perform).not.toHaveBeenCalled();
    expect(hidden('b')).toBe(true);
  });

  it('of a page that goes away may be too large for the browser', async () => {
    vi.stubGlobal('fetch', () => Promise.reject(new TypeError('keepalive'))); // a mock would catch it
    sendOff('DELETE', '/api/v1/datasets/a'); // an error that nobody catches fails the test
    await new Promise((later) => setTimeout(later));
    vi.unstubAllGlobals();
  });

  it('of a page that goes away outlives the page and says which page it comes from', () => {
    const sent = vi.fn(() => Promise.resolve(new Response()));
    vi.stubGlobal('fetch', sent);
    sendOff('DELETE', '/api/v1/datasets/a');
    sendOff('POST', '/api/v1/runs/bulk', { ids: ['b'] });
    vi.unstubAllGlobals();
    const asked = sent.mock.calls as unknown as [string, RequestInit][];
    expect(asked.map(([path, { method, keepalive, body }]) => [path, method, keepalive, body])).toEqual([['/api/v1/datasets/a', 'DELETE', true, undefined], ['/api/v1/runs/bulk', 'POST', true, '{"ids":["b"]}']]);
    expect(asked.every(([, { headers }]) => (headers as Record<string, string>)['X-CoPG-Request'] === 'page')).toBe(true);
  });
});
