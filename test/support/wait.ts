import { setTimeout as sleep } from 'node:timers/promises';

/** Time between two looks. */
const LOOK_MILLIS = 5;

/**
 * Looks again and again until `look` returns something else than false or undefined, and returns that.
 *
 * @throws {Error} naming `what` when it does not happen in time. The limit is generous: it only ends a hang.
 */
export async function waitUntil<T>(
  what: string,
  look: () => T | false | undefined | Promise<T | false | undefined>,
  timeoutMillis = 20_000,
): Promise<T> {
  const until = performance.now() + timeoutMillis;
  for (;;) {
    const found = await look();
    if (found !== false && found !== undefined) return found;
    if (performance.now() > until) throw new Error(`${what}: not in ${timeoutMillis} ms`);
    await sleep(LOOK_MILLIS);
  }
}
