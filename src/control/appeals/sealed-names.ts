import { WartaError } from '../../base/errors.ts';
import type { EntryTable } from '../../register/annex.ts';
import { canonicaliseName } from '../../register/entry-name.ts';

/** What parts words; a name may be written with any letters, and with its dots in brackets so that nobody follows it. */
const BETWEEN_NAMES = /[^\p{L}\p{N}\p{M}._-]+/u;
const DISGUISED_DOT = /\s?(?:[[({]\s?(?:\.|dot)\s?[\])}]|[。．｡])\s?/giu;
const LABELS_MAX = 127;

/**
 * Refuses text for the public that has a name from a sealed annex in it, whatever stands before or after the name.
 *
 * @throws {WartaError} `request-invalid`, which does not repeat the name.
 */
export function refuseSealedNames(text: string, entries: EntryTable | undefined): void {
  if (entries === undefined) return;
  const written = findWrittenNames(text);
  if (written.size === 0) return;
  for (let at = 0; at < entries.count; at++) {
    if (!written.has(entries.name(at))) continue;
    throw new WartaError(
      'request-invalid',
      'the text for the public has a name of the sealed annex in it: refer to the entry by its id',
    );
  }
}

/** Returns everything in a text that could be read as a name, in canonical form: every run of labels of every word. */
function findWrittenNames(text: string): Set<string> {
  const names = new Set<string>();
  for (const word of text.normalize('NFKC').replace(DISGUISED_DOT, '.').split(BETWEEN_NAMES)) {
    const labels = word.split('.').filter((label) => label !== '');
    if (labels.length < 2 || labels.length > LABELS_MAX) continue;
    for (let from = 0; from < labels.length; from++) {
      for (let to = from + 2; to <= labels.length; to++) {
        const name = canonicaliseName(labels.slice(from, to).join('.'));
        if (name !== undefined) names.add(name);
      }
    }
  }
  return names;
}
