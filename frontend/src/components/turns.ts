/** Drawings take turns: each has a task of its own, so that a page of many figures hears its reader between two of them. */
type Draw = () => unknown;

export class Turns {
  private readonly waiting = new Map<object, Draw>();
  private busy = false;

  /** Draw when it is this place's turn. Of several wishes for one place the newest counts, in the turn of the first. */
  ask(place: object, draw: Draw): void {
    this.waiting.set(place, draw);
    if (!this.busy) void this.work();
  }

  drop(place: object): void {
    this.waiting.delete(place);
  }

  /** What waits for its turn, for somebody who cannot wait. */
  take(place: object): Draw | undefined {
    const draw = this.waiting.get(place);
    this.waiting.delete(place);
    return draw;
  }

  private async work(): Promise<void> {
    this.busy = true;
    while (this.waiting.size > 0) {
      await new Promise((later) => setTimeout(later));
      const next = this.first();
      if (!next) break;
      this.waiting.delete(next[0]);
      try {
        await next[1]();
      } catch (error) {
        console.error(error); // a figure that cannot be drawn must not hold up the others
      }
    }
    this.busy = false;
  }

  private first(): [object, Draw] | undefined {
    return this.waiting.entries().next().value;
  }
}
