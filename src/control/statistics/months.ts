import { z } from 'zod';

/** A month such as `2026-03`, in UTC. */
export const month = z.string().regex(/^(?:19[7-9]\d|20\d\d)-(?:0[1-9]|1[0-2])$/, 'expected a month such as 2026-03');

/** A span of time: `fromSeconds <= t < toSeconds`. */
export interface Period {
  readonly fromSeconds: number;
  readonly toSeconds: number;
}

/** Returns the month a time lies in. */
export function monthOf(seconds: number): string {
  return new Date(seconds * 1000).toISOString().slice(0, 7);
}

/** Returns when a month begins. */
export function startOf(name: string): number {
  return Date.UTC(Number(name.slice(0, 4)), Number(name.slice(5)) - 1) / 1000;
}

/** Returns the month that comes so many months after another. */
export function addMonths(name: string, count: number): string {
  return monthOf(Date.UTC(Number(name.slice(0, 4)), Number(name.slice(5)) - 1 + count) / 1000);
}

/** Returns the months from one to another, both included. */
export function listMonths(from: string, to: string): string[] {
  const months: string[] = [];
  for (let name = from; name <= to; name = addMonths(name, 1)) months.push(name);
  return months;
}

/** Returns the span of some months, both included. */
export function periodOf(from: string, to: string): Period {
  return { fromSeconds: startOf(from), toSeconds: startOf(addMonths(to, 1)) };
}

/** Whether a time lies in a period. */
export function isWithin(seconds: number | null | undefined, { fromSeconds, toSeconds }: Period): boolean {
  return seconds !== null && seconds !== undefined && fromSeconds <= seconds && seconds < toSeconds;
}
