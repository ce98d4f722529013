import i18next, { type TFunction } from 'i18next';
import { LANGUAGES, type Language } from './language.ts';

/** Says a text, with its placeholders filled in. The result is no HTML yet. */
export type Say<Key extends string> = (key: Key, values?: Readonly<Record<string, string>>) => string;

/**
 * Returns what says the texts of each language: i18next with nothing but these. Every language has every text, with the same
 * placeholders. Values are escaped where HTML is composed, not here, since the same texts may make plain text. There is no
 * fallback between languages: a page is in one.
 */
export function createTexts<Key extends string>(
  texts: Readonly<Record<Language, Readonly<Record<Key, string>>>>,
): (language: Language) => Say<Key> {
  const own = i18next.createInstance();
  own.init({
    initAsync: false,
    fallbackLng: false,
    keySeparator: false,
    nsSeparator: false,
    resources: Object.fromEntries(LANGUAGES.map((language) => [language, { translation: texts[language] }])),
    interpolation: { escapeValue: false, skipOnVariables: true },
  });
  const sayings = Object.fromEntries(
    LANGUAGES.map((language) => [language, createSay(own.getFixedT(language), texts[language])]),
  ) as Record<Language, Say<Key>>;
  return (language) => sayings[language];
}

/** Texts without placeholders are said once, as i18next takes microseconds for each. */
function createSay<Key extends string>(translate: TFunction, texts: Readonly<Record<Key, string>>): Say<Key> {
  const fixed = Object.fromEntries(Object.keys(texts).map((key) => [key, translate(key)])) as Record<Key, string>;
  return (key, values) => (values === undefined ? fixed[key] : translate(key as string, { ...values, nest: false }));
}
