import { getPublicSuffix } from 'tldts';
import type { Scope } from './annex.ts';
import { ancestorsOf, fitsWire, isAddress, ROOT_NAME } from './entry-name.ts';
import type { Pack } from './pack.ts';

/** What kind of name the guard-rails hold back. */
export type GuardCheck =
  | 'protected-name'
  | 'public-suffix'
  | 'media-name'
  | 'root'
  | 'address'
  | 'single-label'
  | 'name-too-long'
  | 'url-port'
  | 'url-fragment';

/** How the reason of each kind begins, or reads. */
const CHECKS: readonly (readonly [reason: RegExp, check: GuardCheck])[] = [
  [/^(protected name:|below the protected|covers the protected)/, 'protected-name'],
  [/^a public suffix/, 'public-suffix'],
  [/^a name of the media/, 'media-name'],
  [/^the root/, 'root'],
  [/^an IP address/, 'address'],
  [/^a single-label/, 'single-label'],
  [/^the name is longer/, 'name-too-long'],
  [/^a page on a port/, 'url-port'],
  [/^a part of a page/, 'url-fragment'],
];

/** Returns what kind of name a refusal of the guard-rails is about. */
export function checkOfRefusal(reason: string): GuardCheck {
  const found = CHECKS.find(([pattern]) => pattern.test(reason));
  if (found === undefined) throw new Error(`no check has the reason ${reason}`);
  return found[1];
}

/** The private part of the list counts too: a rule for all of `github.io` would hit a million sites. */
const SUFFIX_OPTIONS = { allowPrivateDomains: true, extractHostname: false, validateHostname: false, detectIp: false };

/** Returns why an entry may not become a rule, or `undefined` when it may. `approvers` counts the notice's approvals. */
export type RefuseEntry = (name: string, scope: Scope, approvers: number) => string | undefined;

/** Approvals a notice needs to touch a name of the media: with the one who drafted, three people. */
const MEDIA_APPROVALS = 2;

/** What the pack says of one name. */
interface NameRule {
  /** Why the name itself may not be blocked; why nothing below it; why no subtree that covers it. */
  held?: string;
  heldBelow?: string;
  above?: string;
  isMedia?: boolean;
  isAboveMedia?: boolean;
}

/**
 * Creates the guard-rails of a policy pack: what no signature can make a rule. Names are canonical. The node applies them
 * itself, whatever is signed, since a wrong list has been signed before.
 */
export function createGuard(pack: Pack): RefuseEntry {
  const rules = indexNames(pack);
  const mayHaveRule = createSieve(rules.keys());

  return (name, scope, approvers) => {
    const shape = refuseShape(name);
    if (shape !== undefined) return shape;
    const covers = scope === 'subtree';
    const own = mayHaveRule(name, 0) ? rules.get(name) : undefined;
    const fault = own?.held ?? (covers ? own?.above : undefined);
    if (fault !== undefined) return fault;
    let touchesMedia = own?.isMedia || (covers && own?.isAboveMedia);
    for (let dot = name.indexOf('.'); dot >= 0; dot = name.indexOf('.', dot + 1)) {
      if (!mayHaveRule(name, dot + 1)) continue;
      const rule = rules.get(name.slice(dot + 1));
      if (rule?.heldBelow !== undefined) return rule.heldBelow;
      touchesMedia ||= rule?.isMedia;
    }
    return touchesMedia && approvers < MEDIA_APPROVALS ? 'a name of the media needs a second approval' : undefined;
  };
}

/** Indexes everything the pack says of names, by name. */
function indexNames(pack: Pack): Map<string, NameRule> {
  const rules = new Map<string, NameRule>();
  const note = (name: string, rule: NameRule) => rules.set(name, { ...rules.get(name), ...rule });
  for (const { name, scope, reason } of pack.protectedNames) {
    note(name, { held: `protected name: ${reason}` });
    if (scope === 'subtree') note(name, { heldBelow: `below the protected name ${name}: ${reason}` });
    for (const ancestor of ancestorsOf(name)) note(ancestor, { above: `covers the protected name ${name}: ${reason}` });
  }
  for (const name of pack.mediaNames) {
    note(name, { isMedia: true });
    for (const ancestor of ancestorsOf(name)) note(ancestor, { isAboveMedia: true });
  }
  return rules;
}

const SIEVE_LENGTHS = 64;
const SIEVE_CHARACTERS = 32;

/**
 * Returns a quick look whether the part of a name from an offset on may be among `names`, by its length and its first
 * character: false is certain. It spares nearly every suffix of nearly every entry a string of its own and its hash.
 */
function createSieve(names: Iterable<string>): (name: string, from: number) => boolean {
  const cells = new Uint8Array(SIEVE_LENGTHS * SIEVE_CHARACTERS);
  const cellOf = (length: number, character: number) =>
    (length % SIEVE_LENGTHS) * SIEVE_CHARACTERS + (character % SIEVE_CHARACTERS);
  for (const name of names) cells[cellOf(name.length, name.charCodeAt(0))] = 1;
  return (name, from) => cells[cellOf(name.length - from, name.charCodeAt(from))] === 1;
}

/** Returns what is wrong with a name whoever's it is. */
function refuseShape(name: string): string | undefined {
  if (name === ROOT_NAME) return 'the root is never blocked';
  if (endsInDigit(name) && isAddress(name)) return 'an IP address is never blocked';
  if (!name.includes('.')) return 'a single-label name is never blocked';
  if (!fitsWire(name)) return 'the name is longer than DNS allows';
  return getPublicSuffix(name, SUFFIX_OPTIONS) === name ? 'a public suffix is never blocked' : undefined;
}

/** Whether a name may be an address at all. */
function endsInDigit(name: string): boolean {
  const last = name.charCodeAt(name.length - 1);
  return last >= 0x30 && last <= 0x39;
}

/**
 * Returns why a page's address (WHATWG's spelling) may not become a rule, or `undefined`. Its host is the guard-rails' to judge.
 * The gateway serves the schemes' own ports; a rule for another would cut that port off and enforce nothing. A browser keeps
 * what is behind `#` to itself, so a rule for that part would block all of the page, and a site made of one page whole.
 */
export function refuseUrl(url: string): string | undefined {
  const { port, hash } = new URL(url);
  if (port !== '') return 'a page on a port other than 80 and 443 cannot be enforced';
  return hash === '' ? undefined : 'a part of a page (behind #) cannot be told from the rest: list the page without it';
}
