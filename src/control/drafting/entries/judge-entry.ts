import {
  canonicaliseEntry,
  ENTRY_ACTIONS,
  type EntryDraft,
  isExclusion,
  LINE_MAX_BYTES,
  SCOPES,
  type Scope,
} from '../../../register/annex.ts';
import { canonicaliseName, fitsWire } from '../../../register/entry-name.ts';
import { entryId } from '../../../register/fields.ts';
import { refuseUrl } from '../../../register/guard.ts';
import { parseInstant } from '../../../register/time.ts';
import { hidesCharacters, mixesScripts, unicodeFormOf } from './label-script.ts';

/** An entry as it was read, whatever is in it; `undefined` for what was not given. */
export interface RawEntry {
  readonly name: string;
  readonly scope?: string;
  readonly action?: string;
  readonly query?: string;
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
  const { name, scope = 'exact', action, query, exclude = [], expires, id } = raw;
  return {
    raw: name,
    scope: scope as Scope,
    ...(action === 'redirect' && { action }),
    ...(query === 'any' && { query }),
    ...(exclude.length > 0 && { excludes: exclude.map((one) => canonicaliseName(one)!) }),
    ...(expires !== undefined && { expires }),
    ...(id !== undefined && { id }),
  };
}

function findFault(raw: RawEntry): string | undefined {
  const { name, scope = 'exact', action = '', query = '', exclude = [], expires, id } = raw;
  const texts = [name, scope, action, query, ...exclude, expires ?? '', id ?? ''];
  if (texts.some(hidesCharacters)) {
    return 'has a control character, a mark of writing direction or a character that does not show';
  }
  if (name === '') return 'has no name';
  if (!(SCOPES as readonly string[]).includes(scope)) return `scope ${quote(scope)} is none of ${SCOPES.join(', ')}`;
  const meant = findActionFault(scope, raw);
  if (meant !== undefined) return meant;
  if (name.length > RAW_MAX_LENGTH) return `the name has more than ${RAW_MAX_LENGTH} characters`;
  if (id !== undefined && !entryId.safeParse(id).success) return `id ${quote(id)}: 1 to 64 letters, digits, . _ -`;
  if (expires !== undefined && parseInstant(expires) === undefined) {
    return `expires ${quote(expires)}: write a time such as 2026-03-01T09:00:00Z`;
  }
  const forms = canonicaliseEntry(name, scope as Scope);
  if (forms === undefined) return describeNoName(name, scope);
  if (!fitsWire(forms.canonical)) return `${quote(name)} is longer than DNS allows`;
  if ((forms.url?.length ?? 0) > URL_MAX_LENGTH) return `the URL has more than ${URL_MAX_LENGTH} characters`;
  const port = forms.url === undefined ? undefined : refuseUrl(forms.url);
  if (port !== undefined) return `${quote(name)} is ${port}`;
  const mixed = findMixedLabel(scope === 'url' ? hostOf(name) : name, forms.canonical);
  if (mixed !== undefined) {
    return `${quote(mixed)} mixes scripts that are not written together; if that very name is meant, write ${forms.canonical}`;
  }
  const excluded = findExclusionFault(exclude, scope, forms.canonical);
  if (excluded !== undefined) return excluded;
  const size = [...texts, forms.canonical, forms.url ?? ''].reduce((sum, text) => sum + Buffer.byteLength(text), 0);
  return size > LINE_MAX_BYTES - LINE_REST_BYTES ? 'is too long as a whole: use fewer exclusions' : undefined;
}

function findActionFault(scope: string, { action = 'block', query }: RawEntry): string | undefined {
  if (!(ENTRY_ACTIONS as readonly string[]).includes(action)) {
    return `action ${quote(action)} is none of ${ENTRY_ACTIONS.join(', ')}`;
  }
  if (action === 'redirect' && scope === 'url') {
    return 'a page is not redirected, as the notice is shown in its place: leave the action out';
  }
  if (query === undefined) return undefined;
  if (query !== 'any') return `query ${quote(query)}: write any, or leave it out where the query must be the same`;
  return scope === 'url' ? undefined : 'query needs the scope url';
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
