/**
 * Brings a figure's new points to the screen: one request in flight, at most one pending.
 *
 * A live event is only a hint. The cursor decides what is fetched, so a lost, doubled or late event loses no point.
 */
import type { FigureOut, FigurePoints } from '../api/client';

export interface PumpPorts {
  whole(): Promise<FigureOut>;
  points(after: string, fence: number): Promise<FigurePoints>;
  draw(figure: FigureOut): Promise<void> | void;
  extend(points: FigurePoints): Promise<void> | void;
  /** Whether it is worth another try in a while. */
  failed(error: unknown): boolean;
}

const AGAIN_MS = 3_000;

export class FigurePump {
  private cursor = "";
  private fence = -1;
  private loaded = false;
  private running: Promise<void> | undefined;
  private pending = false;
  private stopped = false;

  constructor(private readonly ports: PumpPorts) {}

  stop(): void {
    this.stopped = true;
  }

  /** Something may have changed. `again`: fetch the whole figure even where points would do. Ends when all hints until then are drawn. */
  hint(again = false): Promise<void> {
    if (again) this.loaded = false;
    if (this.running) this.pending = true;
    else this.running = this.work();
    return this.running;
  }

  private async work(): Promise<void> {
    try {
      do {
        this.pending = false;
        await this.once();
      } while (this.pending && !this.stopped);
    } catch (error) {
      if (!this.stopped && this.ports.failed(error)) setTimeout(() => { if (!this.stopped) void this.hint(); }, AGAIN_MS);
    } finally {
      this.running = undefined;
    }
  }

  private async once(): Promise<void> {
    if (!this.loaded) {
      await this.reload();
      return;
    }
    const points = await this.ports.points(this.cursor, this.fence);
    if (this.stopped) return;
    if (points.reset || points.fence !== this.fence) {
      await this.reload();
      return;
    }
    if (!points.traces.some((trace) => (trace.x?.length ?? 0) > 0)) {
      this.cursor = points.cursor;
      return;
    }
    await this.ports.extend(points);
    this.cursor = points.cursor;
  }

  private async reload(): Promise<void> {
    this.loaded = true;
    try {
      const figure = await this.ports.whole();
      if (this.stopped) return;
      this.cursor = figure.cursor;
      this.fence = figure.fence;
      // An empty figure has no traces to append to: ask for the whole again on the next hint.
      if (figure.empty) this.loaded = false;
      await this.ports.draw(figure);
    } catch (error) {
      this.loaded = false;
      throw error;
    }
  }
}
