import { cpus } from 'node:os';

/** So long at most other threads go first: a release among the statements must not wait for a quiet hour. */
const PACED_MILLIS = 300_000;
/** Pauses beside work on a busy machine: a twenty-fifth of one core is taken. */
const PAUSE_RATIO = 24;
const MAX_PAUSE_MILLIS = 1_000;
/** How often the processors are looked at, and the share of one of them that nobody wants on a quiet machine. */
const LOOK_MILLIS = 100;
const QUIET_SHARE = 0.2;

/** What courtesy asks of a machine; tests give their own. */
export interface Machine {
  monotonicMillis(): number;
  /** How long all processors together had nothing to do since they were started. */
  idleMillis(): number;
  /** Halts this thread. */
  pause(millis: number): void;
}

const sleeper = new Int32Array(new SharedArrayBuffer(4));

const thisMachine: Machine = {
  monotonicMillis: () => performance.now(),
  idleMillis: () => cpus().reduce((sum, { times }) => sum + times.idle, 0),
  pause: (millis) => {
    Atomics.wait(sleeper, 0, 0, millis);
  },
};

/**
 * Lets queries go first while this thread replays a register and a saved table serves. On a quiet machine nothing is
 * slower; on a busy one this thread pauses most of the time. A low priority would look better, but the kernel lets no
 * service without privileges end one: an update would wait as the replay did.
 */
export class Courtesy {
  readonly #machine: Machine;
  readonly #began: number;
  #workedFrom: number;
  /** As found at the last look; nothing is known before the first. */
  #isBusy = false;
  #lookedAt: number;
  #idleMillis: number;

  constructor(machine = thisMachine) {
    this.#machine = machine;
    this.#began = machine.monotonicMillis();
    this.#workedFrom = this.#began;
    this.#lookedAt = this.#began;
    this.#idleMillis = machine.idleMillis();
  }

  /** Call it now and then during the work. */
  giveWay(): void {
    const now = this.#machine.monotonicMillis();
    if (now - this.#began > PACED_MILLIS) return;
    if (now - this.#lookedAt >= LOOK_MILLIS) this.#look(now);
    const pauseMillis = Math.min(MAX_PAUSE_MILLIS, PAUSE_RATIO * (now - this.#workedFrom));
    if (this.#isBusy) this.#machine.pause(pauseMillis);
    this.#workedFrom = this.#machine.monotonicMillis();
  }

  /** Finds out whether the processors had nothing to do since the last look. */
  #look(now: number): void {
    const idleMillis = this.#machine.idleMillis();
    this.#isBusy = idleMillis - this.#idleMillis < QUIET_SHARE * (now - this.#lookedAt);
    this.#idleMillis = idleMillis;
    this.#lookedAt = now;
  }
}
