/** The end of a window that has none: the last value of an unsigned 32-bit count of seconds (year 2106). */
export const NO_END_SECONDS = 0xffffffff;

/** Seconds in the day that terms and review intervals are counted in (24 hours, whatever the calendar does). */
export const DAY_SECONDS = 86_400;

const INSTANT = /^\d{4}-\d\d-(\d\d)T\d\d:\d\d:\d\dZ$/;

/**
 * Returns the whole seconds since the epoch of an RFC 3339 time in UTC with whole seconds (`2026-03-01T09:00:00Z`), or
 * `undefined` for any other spelling, for a day that does not exist, and for a time a 32-bit count cannot hold. One
 * spelling only, so that two parties never disagree about a time by its time zone or its fraction.
 */
export function parseInstant(text: string): number | undefined {
  const day = INSTANT.exec(text)?.[1];
  if (day === undefined) return undefined;
  const seconds = Date.parse(text) / 1000;
  if (!(seconds >= 0 && seconds < NO_END_SECONDS)) return undefined;
  // A day that the month does not have, and the hour 24, are read as a time on another day.
  return new Date(seconds * 1000).getUTCDate() === Number(day) ? seconds : undefined;
}

/** Returns the seconds of a time that a schema has already checked. */
export function secondsOf(checked: string): number {
  return Date.parse(checked) / 1000;
}

/** Returns the RFC 3339 spelling (UTC, whole seconds) of seconds since the epoch. */
export function formatInstant(seconds: number): string {
  return `${new Date(seconds * 1000).toISOString().slice(0, 19)}Z`;
}
