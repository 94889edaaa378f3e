/** Draws an answer's figures into their places, newest answer first; what is off screen waits until it is seen. */
import type { BanditFigures } from '../../api/client';
import { CONFIG, plotly, type PlotlyFigure, themed } from '../../components/plotly';
import type { Scheme } from '../../theme';

export interface Picture { answer: BanditFigures; key: string; live: boolean; scheme: Scheme; narrow: boolean }

export class Board {
  private readonly places = new Map<string, HTMLElement>();
  private readonly seen = new Set<string>();
  private readonly drawn = new Map<string, Picture>();
  private readonly watcher: IntersectionObserver;
  private picture: Picture | null = null;
  private busy = false;

  constructor(private readonly told: (picture: Picture) => void) {
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
      const { react, purge } = await plotly();
      for (let again = true; again; ) {
        again = false;
        const picture = this.picture;
        if (!picture) return;
        for (const [name, element] of this.places) {
          if (!this.seen.has(name) || this.drawn.get(name) === picture) continue;
          again = true;
          const given = picture.answer.figures[name] as unknown as PlotlyFigure | undefined;
          if (given) {
            const figure = themed(given, picture.scheme, false);
            // The algorithms' chips say the colours; a narrow screen has no room to say them twice.
            figure.layout.showlegend = name === 'regret' && !picture.narrow;
            if (picture.narrow) figure.layout.dragmode = false;
            await react(element, figure.data, figure.layout, CONFIG);
          } else purge(element);
          this.drawn.set(name, picture);
          if (this.picture !== picture) break;
        }
        if (again && this.picture === picture) this.told(picture);
      }
    } finally {
      this.busy = false;
    }
  }
}
