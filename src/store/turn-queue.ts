/** Lets one piece of work run at a time, in the order they came. */
export class TurnQueue {
  #last: Promise<unknown> = Promise.resolve();

  /** Runs `work` when everything asked for before has ended, and returns what it does. */
  run<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#last.then(work);
    this.#last = result.catch(() => {});
    return result;
  }
}
