import { runWhenIdle } from '../base/libc.ts';

/** So long only what no query wants is taken of the processor. */
const IDLE_MILLIS = 10_000;
/** So long after that a seventh of one core is taken: a release must not wait for a quiet hour. Then as much as there is. */
const PACED_MILLIS = 80_000;
/** Pauses beside work, while paced. A lower priority would do as well, but a service without privileges cannot end one. */
const PAUSE_RATIO = 6;
const MAX_PAUSE_MILLIS = 500;

const sleeper = new Int32Array(new SharedArrayBuffer(4));

/** Lets queries go first while this thread replays a register and a saved table serves: begins when made, until `end`. */
export class Courtesy {
  readonly #began = performance.now();
  #workedFrom = this.#began;
  #idle = true;

  constructor() {
    runWhenIdle(true);
  }

  /** Call it now and then during the work. */
  giveWay(): void {
    const now = performance.now();
    const passed = now - this.#began;
    if (passed < IDLE_MILLIS) return;
    if (this.#idle) this.end();
    else if (passed < IDLE_MILLIS + PACED_MILLIS) {
      Atomics.wait(sleeper, 0, 0, Math.min(MAX_PAUSE_MILLIS, PAUSE_RATIO * (now - this.#workedFrom)));
    }
    this.#workedFrom = performance.now();
  }

  end(): void {
    this.#idle = false;
    runWhenIdle(false);
  }
}
