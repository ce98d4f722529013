import {
  canonicaliseEntry,
  type EntryDraft,
  isExclusion,
  LINE_MAX_BYTES,
  SCOPES,
  type Scope,
} from '../../../register/annex.ts';
import { canonicaliseName, fitsWire } from '../../../register/entry-name.ts';
import { entryId } from '../../../register/fields.ts';
import { parseInstant } from '../../../register/time.ts';
import { hidesCharacters, mixesScripts, unicodeFormOf } from './label-script.ts';

/** An entry as it was read, whatever is in it; `undefined` for what was not given. */
export interface RawEntry {
  readonly name: string;
  readonly scope?: string;
  readonly exclude?: readonly string[];
  readonly expires?: string;
  readonly id?: string;
}

const RAW_MAX_LENGTH = 1024;
const URL_MAX_LENGTH = 2048;
const EXCLUDES_MAX = 100;

/** Octets of a line that are neither names nor ids, generously. */
const LINE_REST_BYTES = 400;

/** Quotes text of a stranger in a message. */
function quote(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text);
}

/** Judges one entry: returns it as it is to be composed, or what is wrong with it. */
export function judgeEntry(raw: RawEntry): EntryDraft | { readonly fault: string } {
  const fault = findFault(raw);
  if (fault !== undefined) return { fault };
  const { name, scope = 'exact', exclude = [], expires, id } = raw;
  return {
    raw: name,
    scope: scope as Scope,
    ...(exclude.length > 0 && { excludes: exclude.map((one) => canonicaliseName(one)!) }),
    ...(expires !== undefined && { expires }),
    ...(id !== undefined && { id }),
  };
}

function findFault({ name, scope = 'exact', exclude = [], expires, id }: RawEntry): string | undefined {
  const texts = [name, scope, ...exclude, expires ?? '', id ?? ''];
  if (texts.some(hidesCharacters)) {
    return 'has a control character, a mark of writing direction or a character that does not show';
  }
  if (name === '') return 'has no name';
  if (!(SCOPES as readonly string[]).includes(scope)) return `scope ${quote(scope)} is none of ${SCOPES.join(', ')}`;
  if (name.length > RAW_MAX_LENGTH) return `the name has more than ${RAW_MAX_LENGTH} characters`;
  if (id !== undefined && !entryId.safeParse(id).success) return `id ${quote(id)}: 1 to 64 letters, digits, . _ -`;
  if (expires !== undefined && parseInstant(expires) === undefined) {
    return `expires ${quote(expires)}: write a time such as 2026-03-01T09:00:00Z`;
  }
  const forms = canonicaliseEntry(name, scope as Scope);
  if (forms === undefined) return describeNoName(name, scope);
  if (!fitsWire(forms.canonical)) return `${quote(name)} is longer than DNS allows`;
  if ((forms.url?.length ?? 0) > URL_MAX_LENGTH) return `the URL has more than ${URL_MAX_LENGTH} characters`;
  const mixed = findMixedLabel(scope === 'url' ? hostOf(name) : name, forms.canonical);
  if (mixed !== undefined) {
    return `${quote(mixed)} mixes scripts that are not written together; if that very name is meant, write ${forms.canonical}`;
  }
  const excluded = findExclusionFault(exclude, scope, forms.canonical);
  if (excluded !== undefined) return excluded;
  const size = [...texts, forms.canonical, forms.url ?? ''].reduce((sum, text) => sum + Buffer.byteLength(text), 0);
  return size > LINE_MAX_BYTES - LINE_REST_BYTES ? 'is too long as a whole: use fewer exclusions' : undefined;
}

/** Says what is wrong with what is no name, and what may have been meant. */
function describeNoName(name: string, scope: string): string {
  if (scope === 'url') return `${quote(name)} is no http(s) URL`;
  if (/^https?:\/\//i.test(name)) return `${quote(name)} is a URL: give it the scope url, or list its host`;
  if (name.includes('*')) return `${quote(name)} is no name: a name with all below it has the scope subtree`;
  return `${quote(name)} is no name`;
}

/** The host of a URL as it was written, in Unicode where it was. */
function hostOf(url: string): string {
  return /^[a-z]+:\/\/(?:[^/?#]*@)?([^/?#:]*)/i.exec(url)?.[1] ?? '';
}

/** Returns a label that mixes scripts, unless it was written in A-labels: nobody does that by mistake. */
function findMixedLabel(written: string, canonical: string): string | undefined {
  if (!canonical.includes('xn--')) return undefined;
  const plain = written.toLowerCase();
  const encoded = canonical.split('.');
  return unicodeFormOf(canonical)
    .split('.')
    .find((label, at) => mixesScripts(label) && !plain.includes(encoded[at]!));
}

function findExclusionFault(exclude: readonly string[], scope: string, canonical: string): string | undefined {
  if (exclude.length === 0) return undefined;
  if (scope !== 'subtree') return 'exclude needs the scope subtree';
  if (exclude.length > EXCLUDES_MAX) return `has more than ${EXCLUDES_MAX} exclusions`;
  const stray = exclude.find((one) => {
    const name = canonicaliseName(one);
    return name === undefined || !isExclusion(name, canonical) || findMixedLabel(one, name) !== undefined;
  });
  return stray === undefined ? undefined : `exclude ${quote(stray)} is no name below ${canonical}`;
}
