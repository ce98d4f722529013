import type { Language } from './language-choice.ts';

/** Where the notices apply. */
const TIME_ZONE = 'Asia/Kuala_Lumpur';

/** The locale of each language: how Malaysians write dates. */
const LOCALES: Readonly<Record<Language, string>> = { ms: 'ms-MY', en: 'en-MY', zh: 'zh-Hans-MY', ta: 'ta-MY' };

const MINUTE = 60;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** Formatters are costly to make (a tenth of a millisecond) and hold nothing of a request. */
const FORMATS = Object.fromEntries(
  Object.entries(LOCALES).map(([language, locale]) => [
    language,
    {
      instant: new Intl.DateTimeFormat(locale, {
        year: 'numeric',
        month: 'long',
        day: 'numeric',
        hour: 'numeric',
        minute: '2-digit',
        timeZone: TIME_ZONE,
        timeZoneName: 'long',
      }),
      distance: new Intl.RelativeTimeFormat(locale, { numeric: 'always' }),
    },
  ]),
) as Record<Language, { instant: Intl.DateTimeFormat; distance: Intl.RelativeTimeFormat }>;

/** Returns an instant in Malaysia's time, which it names. */
export function wordInstant(seconds: number, language: Language): string {
  return FORMATS[language].instant.format(seconds * 1000);
}

/** Returns an instant in UTC as RFC 3339, for programs. */
export function formatUtc(seconds: number): string {
  return new Date(seconds * 1000).toISOString().replace('.000Z', 'Z');
}

/** Returns how far off an instant is: `in 12 days`, `3 hours ago`. Whole units, rounded down; days from two on. */
export function wordDistance(seconds: number, nowSeconds: number, language: Language): string {
  const away = Math.abs(seconds - nowSeconds);
  const [unit, size] = unitOf(away);
  const count = Math.max(1, Math.floor(away / size));
  return FORMATS[language].distance.format(seconds >= nowSeconds ? count : -count, unit);
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
