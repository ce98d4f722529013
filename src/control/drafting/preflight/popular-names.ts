import { readFileSync } from 'node:fs';
import { WartaError } from '../../../base/errors.ts';
import type { EntryTable } from '../../../register/annex.ts';
import { ancestorsOf, canonicaliseName } from '../../../register/entry-name.ts';
import type { Pack } from '../../../register/pack.ts';
import type { Turns } from '../../view/turns.ts';
import type { FindingBook } from './finding.ts';

const WWW = 'www.';

/** A ranked list of names that many people visit; rank 1 is the first. */
export class PopularNames {
  readonly #ranks = new Map<string, number>();
  /** Best rank of what lies below a name. */
  readonly #below = new Map<string, number>();

  /** `names` by rank; a name given twice keeps its better rank. */
  constructor(names: Iterable<readonly [name: string, rank: number]>) {
    for (const [name, rank] of names) {
      if (rank >= (this.#ranks.get(name) ?? Number.POSITIVE_INFINITY)) continue;
      this.#ranks.set(name, rank);
      for (const ancestor of ancestorsOf(name)) {
        if (rank < (this.#below.get(ancestor) ?? Number.POSITIVE_INFINITY)) this.#below.set(ancestor, rank);
      }
    }
  }

  /** How many names it holds. */
  get size(): number {
    return this.#ranks.size;
  }

  /**
   * Returns the best rank of what an entry blocks. A name counts as the site it is the `www` of, or the site whose `www` is
   * listed; other names below a popular one do not: `pages.host.example` is one customer, `host.example` all of them.
   */
  rankOf(name: string, coversBelow: boolean): number | undefined {
    const bare = name.startsWith(WWW) ? name.slice(WWW.length) : name;
    const ranks = [this.#ranks.get(bare), this.#ranks.get(WWW + bare), coversBelow ? this.#below.get(name) : undefined];
    const best = Math.min(...ranks.map((rank) => rank ?? Number.POSITIVE_INFINITY));
    return best === Number.POSITIVE_INFINITY ? undefined : best;
  }
}

/** A list in which more than one line in ten holds no name is no list of names. */
const NAMES_PER_BAD_LINE = 9;

/**
 * Reads a list: one name a line, the first one being the most popular, or rank and name separated by a comma. Blank lines,
 * lines that begin with `#` and a line of headings are passed over, and so are single lines whose name is none: published
 * lists have some.
 *
 * @throws {WartaError} `config-invalid`, naming the line.
 */
export function parsePopularNames(text: string, source = 'the list of popular names'): PopularNames {
  const names: [string, number][] = [];
  const bad: number[] = [];
  let rank = 0;
  for (const [at, line] of text.split(/\r?\n/).entries()) {
    if (line.trim() === '' || line.startsWith('#')) continue;
    const fields = line.split(',').map((field) => field.trim().replace(/^"(.*)"$/, '$1'));
    const isRanked = fields.length > 1;
    const isRankGood = !isRanked || /^[1-9]\d{0,8}$/.test(fields[0]);
    if (!isRankGood && rank === 0) continue; // headings
    if (!isRankGood) throw invalid(source, at);
    rank = isRanked ? Number(fields[0]) : rank + 1;
    const name = canonicaliseName(isRanked ? fields[1] : fields[0]);
    if (name === undefined) bad.push(at);
    else names.push([name, rank]);
  }
  if (names.length < NAMES_PER_BAD_LINE * bad.length) throw invalid(source, bad[0]);
  if (names.length === 0) throw invalid(source, 0); // it would find nothing, and say that nothing was found
  return new PopularNames(names);
}

function invalid(source: string, at: number): WartaError {
  return new WartaError('config-invalid', `${source}: line ${at + 1}: expected a name, or a rank and a name`);
}

/**
 * Reads a list from a file.
 *
 * @throws {WartaError} `config-unreadable`, `config-invalid`.
 */
export function loadPopularNames(path: string): PopularNames {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    throw new WartaError('config-unreadable', `cannot read the list of popular names ${path}: check the path`, {
      cause,
    });
  }
  return parsePopularNames(text, path);
}

/**
 * Looks for entries that block what many people visit. A page counts as its whole host, all of which is led through the
 * gateway: doing that to a big site cost its users more than the page (Wikipedia in 2008).
 */
export async function checkPopularNames(
  entries: EntryTable,
  pack: Pack,
  popular: PopularNames | undefined,
  book: FindingBook,
  turns: Turns,
): Promise<void> {
  if (popular === undefined) {
    book.add(
      'popular-unchecked',
      'warn',
      'no list of popular names is at hand: whether any is popular was not looked at',
    );
    return;
  }
  const { refuseTop, thirdApproverTop } = pack.preflight.popular;
  for (let at = 0; at < entries.count; at++) {
    await turns.share();
    const scope = entries.scope(at);
    const what = scope === 'url' ? 'its host, all of which is led through the gateway, is among' : 'among';
    const rank = popular.rankOf(entries.name(at), scope === 'subtree');
    if (rank === undefined) continue;
    if (rank <= refuseTop) {
      const message = `${what} the ${refuseTop} most visited names: an officer may override with a reason`;
      book.addEntry('popular-name', 'refuse', message, entries.id(at), true);
    } else if (rank <= thirdApproverTop) {
      const message = `${what} the ${thirdApproverTop} most visited names`;
      book.addEntry('popular-name', 'needs-third-approver', message, entries.id(at));
    }
  }
}
