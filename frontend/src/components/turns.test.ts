import { describe, expect, it, vi } from 'vitest';
import { Turns } from './turns';

const settle = (): Promise<void> => new Promise((done) => setTimeout(done, 20));

describe('Turns', () => {
  it('draws each place once, the newest wish in the turn of the first', async () => {
    const drawn: string[] = [];
    const turns = new Turns();
    const [a, b] = [{}, {}];
    turns.ask(a, () => drawn.push('a, old'));
    turns.ask(b, () => drawn.push('b'));
    turns.ask(a, () => drawn.push('a, new'));
    await settle();
    expect(drawn).toEqual(['a, new', 'b']);
  });

  it('leaves a task between two drawings, and one that fails holds up no other', async () => {
    const drawn: string[] = [];
    const said = vi.spyOn(console, 'error').mockImplementation(() => undefined);
    const turns = new Turns();
    turns.ask({}, () => { drawn.push('first'); setTimeout(() => drawn.push('heard')); throw new Error('no'); });
    turns.ask({}, () => drawn.push('second'));
    await settle();
    expect(drawn).toEqual(['first', 'heard', 'second']);
    expect(said).toHaveBeenCalledOnce();
    said.mockRestore();
  });

  it('forgets a place that is gone, and works again after a rest', async () => {
    const drawn: string[] = [];
    const turns = new Turns();
    const gone = {};
    turns.ask(gone, () => drawn.push('gone'));
    turns.drop(gone);
    await settle();
    turns.ask({}, () => drawn.push('later'));
    await settle();
    expect(drawn).toEqual(['later']);
  });
});
