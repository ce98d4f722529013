import { setImmediate as nextTurn } from 'node:timers/promises';

/** How long one piece of work may keep requests waiting. */
const TURN_MILLIS = 20;

/** Lets other work of the process have a turn when long work has had its own. */
export class Turns {
  #beganAt = performance.now();

  /** Waits for the next turn of the event loop if this one has lasted long enough. */
  async share(): Promise<void> {
    if (performance.now() - this.#beganAt < TURN_MILLIS) return;
    await nextTurn();
    this.#beganAt = performance.now();
  }
}
