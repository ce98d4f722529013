import type { Language } from './language.ts';

/** Where the notices apply. */
const TIME_ZONE = 'Asia/Kuala_Lumpur';

/** The locale of each language: how Malaysians write dates. */
export const LOCALES: Readonly<Record<Language, string>> = { ms: 'ms-MY', en: 'en-MY', zh: 'zh-Hans-MY', ta: 'ta-MY' };

/** Makes something for each language: formatters are costly to make (a tenth of a millisecond) and hold nothing of a request. */
export function forEachLocale<T>(make: (locale: string) => T): Readonly<Record<Language, T>> {
  const made = Object.entries(LOCALES).map(([language, locale]) => [language, make(locale)]);
  return Object.fromEntries(made) as Record<Language, T>;
}

const INSTANTS = forEachLocale(
  (locale) =>
    new Intl.DateTimeFormat(locale, {
      year: 'numeric',
      month: 'long',
      day: 'numeric',
      hour: 'numeric',
      minute: '2-digit',
      timeZone: TIME_ZONE,
      timeZoneName: 'long',
    }),
);

/** Returns an instant (seconds since 1970 UTC) in Malaysia's time, which it names. */
export function wordInstant(seconds: number, language: Language): string {
  return INSTANTS[language].format(seconds * 1000);
}
