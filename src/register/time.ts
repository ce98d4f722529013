/** The end of a window that has none: the last value of an unsigned 32-bit count of seconds (year 2106). */
export const NO_END_SECONDS = 0xffffffff;

/** Seconds in the day that terms and review intervals are counted in (24 hours, whatever the calendar does). */
export const DAY_SECONDS = 86_400;

/** Month, day and clock within their bounds; whether the month has that day is left to check. */
const INSTANT = /^\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\dZ$/;
/** Years before it are no times of ours, and `Date.UTC` takes those below 100 for others. */
const FIRST_YEAR = 1970;
/** Every month has so many days. */
const SHORTEST_MONTH_DAYS = 28;

/**
 * Returns the whole seconds since the epoch of an RFC 3339 time in UTC with whole seconds (`2026-03-01T09:00:00Z`), or
 * `undefined` for any other spelling, for a day that does not exist, and for a time a 32-bit count cannot hold. One
 * spelling only, so that two parties never disagree about a time by its time zone or its fraction.
 */
export function parseInstant(text: string): number | undefined {
  if (!INSTANT.test(text) || readYear(text) < FIRST_YEAR) return undefined;
  const seconds = secondsOf(text);
  if (seconds >= NO_END_SECONDS) return undefined;
  const day = readTwo(text, 8);
  // A day that the month does not have is counted on into the next.
  if (day > SHORTEST_MONTH_DAYS && new Date(seconds * 1000).getUTCDate() !== day) return undefined;
  return seconds;
}

/** Returns the seconds of a time that a schema has already checked. A log has several in every leaf: `Date.parse` is slow. */
export function secondsOf(checked: string): number {
  const day = Date.UTC(readYear(checked), readTwo(checked, 5) - 1, readTwo(checked, 8)) / 1000;
  return day + 3600 * readTwo(checked, 11) + 60 * readTwo(checked, 14) + readTwo(checked, 17);
}

function readYear(text: string): number {
  return 100 * readTwo(text, 0) + readTwo(text, 2);
}

/** Reads two decimal digits. */
function readTwo(text: string, at: number): number {
  return 10 * text.charCodeAt(at) + text.charCodeAt(at + 1) - 11 * ZERO;
}

const ZERO = 48;

/** Returns the RFC 3339 spelling (UTC, whole seconds) of seconds since the epoch. */
export function formatInstant(seconds: number): string {
  return `${new Date(seconds * 1000).toISOString().slice(0, 19)}Z`;
}
