import i18next, { type TFunction } from 'i18next';
import { LANGUAGES, type Language } from './language-choice.ts';
import en from './texts/en.json' with { type: 'json' };
import ms from './texts/ms.json' with { type: 'json' };
import ta from './texts/ta.json' with { type: 'json' };
import zh from './texts/zh.json' with { type: 'json' };

/** A text of the page. Every language has every one, with the same placeholders; a test holds them to it. */
export type TextKey = keyof typeof en;

/** The texts of each language. */
export const TEXTS: Readonly<Record<Language, Readonly<Record<TextKey, string>>>> = { ms, en, zh, ta };

/** Says a text, with its placeholders filled in. The result is no HTML yet. */
export type Say = (key: TextKey, values?: Readonly<Record<string, string>>) => string;

/**
 * i18next with nothing but these texts. Values are escaped where HTML is composed, not here, since the same texts make
 * plain text and JSON. No fallback between languages: a page is in one.
 */
const texts = i18next.createInstance();
texts.init({
  initAsync: false,
  fallbackLng: false,
  keySeparator: false,
  nsSeparator: false,
  resources: Object.fromEntries(LANGUAGES.map((language) => [language, { translation: TEXTS[language] }])),
  interpolation: { escapeValue: false, skipOnVariables: true },
});

/** What says the texts of one language; those without placeholders are said once, as i18next takes microseconds for each. */
function createSay(language: Language): Say {
  const translate: TFunction = texts.getFixedT(language);
  const fixed = Object.fromEntries(Object.keys(en).map((key) => [key, translate(key)])) as Record<TextKey, string>;
  return (key, values) => (values === undefined ? fixed[key] : translate(key, { ...values, nest: false }));
}

const SAYINGS = Object.fromEntries(LANGUAGES.map((language) => [language, createSay(language)])) as Record<
  Language,
  Say
>;

/** Returns what says the texts of a language. */
export function textsOf(language: Language): Say {
  return SAYINGS[language];
}
