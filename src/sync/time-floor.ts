import { readFileSync } from 'node:fs';
import { writeDurably } from '../base/durable-file.ts';

/**
 * The latest time this node has reason to believe in, kept across restarts: ends are never judged by an earlier one, so a
 * rule that lapsed does not revive when the machine starts with its clock set back.
 */
export class TimeFloor {
  readonly #path: string;
  #seconds: number;

  /** @param path file that keeps the time; a missing or unreadable one counts as none. */
  constructor(path: string) {
    this.#path = path;
    this.#seconds = readSeconds(path);
  }

  get seconds(): number {
    return this.#seconds;
  }

  /**
   * Raises the floor and keeps it.
   *
   * @throws {WartaError} `store-failed`; the floor in memory is raised all the same.
   */
  raise(seconds: number): void {
    if (seconds <= this.#seconds) return;
    this.#seconds = seconds;
    writeDurably(this.#path, `${JSON.stringify({ seconds: Math.floor(seconds) })}\n`);
  }
}

function readSeconds(path: string): number {
  try {
    const { seconds } = JSON.parse(readFileSync(path, 'utf8')) as { seconds?: unknown };
    return typeof seconds === 'number' && Number.isFinite(seconds) && seconds > 0 ? seconds : 0;
  } catch {
    return 0;
  }
}
