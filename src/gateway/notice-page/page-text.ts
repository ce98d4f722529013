import type { Language } from '../../pages/language.ts';
import { createTexts, type Say as SayText } from '../../pages/texts.ts';
import en from './texts/en.json' with { type: 'json' };
import ms from './texts/ms.json' with { type: 'json' };
import ta from './texts/ta.json' with { type: 'json' };
import zh from './texts/zh.json' with { type: 'json' };

/** A text of the page. */
export type TextKey = keyof typeof en;

/** The texts of each language. */
export const TEXTS: Readonly<Record<Language, Readonly<Record<TextKey, string>>>> = { ms, en, zh, ta };

/** Says a text of the page. */
export type Say = SayText<TextKey>;

/** Returns what says the texts of a language. */
export const textsOf = createTexts(TEXTS);
