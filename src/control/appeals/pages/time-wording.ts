import type { Language } from '../../../pages/language.ts';
import { forEachLocale } from '../../../pages/time-wording.ts';
import { DAY_SECONDS } from '../../../register/time.ts';

const HOUR_SECONDS = 3600;

/** ICU shortens the hour in Tamil even where the long form is asked for. */
const TAMIL_HOUR = /ம\.$/;

const FORMATS = forEachLocale((locale) => ({
  days: new Intl.NumberFormat(locale, { style: 'unit', unit: 'day', unitDisplay: 'long' }),
  hours: new Intl.NumberFormat(locale, { style: 'unit', unit: 'hour', unitDisplay: 'long' }),
  count: new Intl.NumberFormat(locale),
}));

/** Returns a span of time: in days when it is a whole number of them and more than one, else in hours. */
export function wordSpan(seconds: number, language: Language): string {
  const { days, hours } = FORMATS[language];
  return seconds > DAY_SECONDS && seconds % DAY_SECONDS === 0
    ? days.format(seconds / DAY_SECONDS)
    : hours.format(Math.round(seconds / HOUR_SECONDS)).replace(TAMIL_HOUR, 'மணிநேரம்');
}

/** Returns a number as people write it. */
export function wordCount(count: number, language: Language): string {
  return FORMATS[language].count.format(count);
}
