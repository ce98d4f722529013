import { setTimeout as sleep } from 'node:timers/promises';
import { isBusy } from './store-error.ts';

/** How long to wait for another connection that has the pen, and between two looks. */
const WAIT_MILLIS = 20_000;
const LOOK_MILLIS = 5;

/** Does something as soon as no other connection prevents it. SQLite's own waiting would stop the whole process meanwhile. */
export async function waitWhileBusy<T>(action: () => T | Promise<T>): Promise<T> {
  for (const until = performance.now() + WAIT_MILLIS; ; await sleep(LOOK_MILLIS)) {
    try {
      return await action();
    } catch (error) {
      if (!isBusy((error as { errcode?: number }).errcode) || performance.now() > until) throw error;
    }
  }
}
