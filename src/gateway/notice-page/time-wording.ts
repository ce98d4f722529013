import type { Language } from '../../pages/language.ts';
import { forEachLocale } from '../../pages/time-wording.ts';

const MINUTE = 60;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

const DISTANCES = forEachLocale((locale) => new Intl.RelativeTimeFormat(locale, { numeric: 'always' }));

/** Returns an instant in UTC as RFC 3339, for programs. */
export function formatUtc(seconds: number): string {
  return new Date(seconds * 1000).toISOString().replace('.000Z', 'Z');
}

/** Returns how far off an instant is: `in 12 days`, `3 hours ago`. Whole units, rounded down; days from two on. */
export function wordDistance(seconds: number, nowSeconds: number, language: Language): string {
  const away = Math.abs(seconds - nowSeconds);
  const [unit, size] = unitOf(away);
  const count = Math.max(1, Math.floor(away / size));
  return DISTANCES[language].format(seconds >= nowSeconds ? count : -count, unit);
}

/** Returns the first second after `nowSeconds` at which `wordDistance` may say something else. */
export function nextWording(seconds: number, nowSeconds: number): number {
  const away = Math.abs(seconds - nowSeconds);
  const [, size] = unitOf(away);
  const count = Math.floor(away / size);
  return seconds >= nowSeconds ? seconds - count * size + 1 : seconds + (count + 1) * size;
}

function unitOf(seconds: number): ['day' | 'hour' | 'minute', number] {
  if (seconds >= 2 * DAY) return ['day', DAY];
  return seconds >= 2 * HOUR ? ['hour', HOUR] : ['minute', MINUTE];
}
