import { domainToUnicode } from 'node:url';

/** Characters that show nothing, change how others are shown, or mean nothing (any more). None belongs in a name. */
const HIDDEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/u;

/** Whether a text reads otherwise than it is: controls, marks of writing direction, zero-width and unassigned characters. */
export function hidesCharacters(text: string): boolean {
  return HIDDEN.test(text);
}

/** Scripts of identifiers in daily use (UAX 31, table 5). A label wholly in any of them is not mixed. */
const SCRIPTS = [
  'Latin',
  'Cyrillic',
  'Greek',
  'Han',
  'Tamil',
  'Arabic',
  'Devanagari',
  'Thai',
  'Hangul',
  'Hiragana',
  'Katakana',
  'Bopomofo',
  'Hebrew',
  'Armenian',
  'Georgian',
  'Bengali',
  'Gurmukhi',
  'Gujarati',
  'Oriya',
  'Telugu',
  'Kannada',
  'Malayalam',
  'Sinhala',
  'Lao',
  'Tibetan',
  'Myanmar',
  'Ethiopic',
  'Khmer',
  'Thaana',
];

/** Scripts that are written together: Japanese, Chinese with its phonetic signs, Korean, each beside Latin letters. */
const TOGETHER = [
  ['Latin', 'Han', 'Hiragana', 'Katakana'],
  ['Latin', 'Han', 'Bopomofo'],
  ['Latin', 'Han', 'Hangul'],
];

/** A label wholly in these scripts and what all scripts share, such as digits. */
const WHOLE = [...SCRIPTS.map((script) => [script]), ...TOGETHER].map((scripts) => {
  const properties = ['Common', 'Inherited', ...scripts].map((script) => `\\p{Script_Extensions=${script}}`);
  return new RegExp(`^[${properties.join('')}]*$`, 'u');
});

/**
 * Whether a label mixes scripts that nobody writes together, as `pаypal` with one Cyrillic letter does. It is the rule that
 * UTS 39 §5.2 calls highly restrictive, for the scripts in daily use; a label in a script that is not among them counts as
 * mixed too.
 */
export function mixesScripts(label: string): boolean {
  return !WHOLE.some((whole) => whole.test(label));
}

/** Letters of other scripts that look like Latin ones in most typefaces: a small part of Unicode's list of confusables. */
const LOOKALIKES: ReadonlyMap<string, string> = new Map(
  Object.entries({
    a: 'аɑα',
    c: 'сϲ',
    d: 'ԁ',
    e: 'е',
    g: 'ɡց',
    h: 'һհ',
    i: 'іıι',
    j: 'јϳ',
    k: 'кκ',
    l: 'ӏ',
    m: 'м',
    n: 'ոп',
    o: 'оοօ',
    p: 'рρ',
    q: 'ԛզ',
    s: 'ѕ',
    t: 'тτ',
    u: 'սυ',
    v: 'ѵν',
    w: 'ԝω',
    x: 'хχ',
    y: 'уγ',
  }).flatMap(([latin, others]) => [...others].map((other) => [other, latin] as const)),
);

const PLAIN = /^[a-z0-9-]+$/;

/**
 * Returns the plain name that a label with letters beyond ASCII may be taken for, as `аррӏе` for `apple` or `bänk` for
 * `bank`; `undefined` for one that looks like none.
 */
export function findPlainLook(label: string): string | undefined {
  if (PLAIN.test(label)) return undefined;
  const bare = label.normalize('NFD').replace(/\p{M}/gu, '');
  const look = [...bare].map((character) => LOOKALIKES.get(character) ?? character).join('');
  return PLAIN.test(look) ? look : undefined;
}

/** Returns the Unicode form of a canonical name; the name itself where it has none. */
export function unicodeFormOf(canonical: string): string {
  return canonical.includes('xn--') ? domainToUnicode(canonical) || canonical : canonical;
}

/** Returns what a person should know of a name before blocking it. */
export function describeLook(canonical: string): string[] {
  const unicode = unicodeFormOf(canonical);
  if (unicode === canonical) return [];
  const labels = unicode.split('.');
  const mixed = labels.filter(mixesScripts).map((label) => `${label} mixes scripts that are not written together`);
  const looks = labels.flatMap((label) => {
    const look = findPlainLook(label);
    return look === undefined ? [] : [`${label} may be taken for ${look}`];
  });
  const hidden = hidesCharacters(unicode) ? ['has characters that do not show'] : [];
  return [...hidden, ...mixed, ...looks];
}
