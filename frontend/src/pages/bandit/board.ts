/** Draws an answer's figures into their places: regret at once, the others in turn; what is off screen waits until it is seen. */
import type { BanditFigures } from '../../api/client';
import { CONFIG, plotly, type PlotlyFigure, themed } from '../../components/plotly';
import type { Scheme } from '../../theme';

export interface Picture { answer: BanditFigures; key: string; live: boolean; scheme: Scheme; narrow: boolean }

const FIRST = 'regret';
/** While a slider moves, the least time between two drawings of figures other than the first, in milliseconds. */
const BREAK_MS = 180;

export class Board {
  private readonly places = new Map<string, HTMLElement>();
  private readonly seen = new Set<string>();
  private readonly drawn = new Map<string, Picture>();
  private readonly watcher: IntersectionObserver;
  private picture: Picture | null = null;
  private told: Picture | null = null;
  private busy = false;
  private turn = 0;
  private rested = 0;
  private timer = 0;

  constructor(private readonly tells: (picture: Picture) => void) {
    this.watcher = new IntersectionObserver((entries) => {
      for (const entry of entries) {
        const name = (entry.target as HTMLElement).dataset.figure!;
        if (entry.isIntersecting) this.seen.add(name); else this.seen.delete(name);
      }
      void this.work();
    }, { rootMargin: '60px' });
  }

  /** A ref callback's work: the place of a figure comes, and goes with the function that is returned. */
  place(name: string, element: HTMLElement): () => void {
    element.dataset.figure = name;
    this.places.set(name, element);
    this.watcher.observe(element);
    return () => {
      this.watcher.unobserve(element);
      this.places.delete(name);
      this.seen.delete(name);
      this.drawn.delete(name);
      void plotly().then(({ purge }) => purge(element));
    };
  }

  show(picture: Picture): void {
    this.picture = picture;
    void this.work();
  }

  private async work(): Promise<void> {
    if (this.busy) return;
    this.busy = true;
    try {
      await plotly();
      for (let picture = this.picture; picture; ) {
        if (this.owed(FIRST, picture)) await this.draw(FIRST, picture);
        if (picture.live && this.told !== picture) this.tell(picture);
        // In turns, so that while newer answers keep coming each of the others is drawn now and then.
        const others = [...this.places.keys()].filter((name) => name !== FIRST);
        for (let count = 0; count < others.length; count++) {
          const name = others[this.turn % others.length]!;
          if (!this.owed(name, picture)) { this.turn++; continue; }
          const rest = picture.live ? this.rested - performance.now() : 0;
          if (rest > 0 && this.picture === picture) return this.later(rest);
          if (rest > 0) break;
          this.turn++;
          await this.draw(name, picture);
          this.rested = performance.now() + BREAK_MS;
          await new Promise((later) => setTimeout(later)); // an answer that has arrived is heard of only now
          if (this.picture !== picture) break;
        }
        const next: Picture | null = this.picture;
        if (next !== picture) { picture = next; continue; }
        if ([...this.places.keys()].some((name) => this.owed(name, next))) continue;
        if (this.told !== next) this.tell(next);
        return;
      }
    } finally {
      this.busy = false;
    }
  }

  private later(rest: number): void {
    clearTimeout(this.timer);
    this.timer = window.setTimeout(() => void this.work(), rest);
  }

  private owed(name: string, picture: Picture): boolean {
    return this.seen.has(name) && this.drawn.get(name) !== picture;
  }

  private tell(picture: Picture): void {
    this.told = picture;
    this.tells(picture);
  }

  private async draw(name: string, picture: Picture): Promise<void> {
    const { react, purge } = await plotly();
    const element = this.places.get(name);
    if (!element) return;
    const given = picture.answer.figures[name] as unknown as PlotlyFigure | undefined;
    this.drawn.set(name, picture);
    if (!given) { purge(element); return; }
    const figure = themed(given, picture.scheme, false);
    // The algorithms' chips say the colours; a narrow screen has no room to say them twice.
    figure.layout.showlegend = name === FIRST && !picture.narrow;
    if (picture.narrow) figure.layout.dragmode = false;
    await react(element, figure.data, figure.layout, CONFIG);
  }
}
