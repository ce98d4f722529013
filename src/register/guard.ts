import { getPublicSuffix } from 'tldts';
import type { Scope } from './annex.ts';
import { ancestorsOf, fitsWire, isAddress, ROOT_NAME } from './entry-name.ts';
import type { Pack } from './pack.ts';

/** The private part of the list counts too: a rule for all of `github.io` would hit a million sites. */
const SUFFIX_OPTIONS = { allowPrivateDomains: true, extractHostname: false, validateHostname: false, detectIp: false };

/** Returns why an entry may not become a rule, or `undefined` when it may. `approvers` counts the notice's approvals. */
export type RefuseEntry = (name: string, scope: Scope, approvers: number) => string | undefined;

/** Approvals a notice needs to touch a name of the media: with the one who drafted, three people. */
const MEDIA_APPROVALS = 2;

/**
 * Creates the guard-rails of a policy pack: what no signature can make a rule. Names are canonical. The node applies them
 * itself, whatever is signed, since a wrong list has been signed before.
 */
export function createGuard(pack: Pack): RefuseEntry {
  const held = new Map<string, string>();
  const heldBelow = new Map<string, string>();
  const above = new Map<string, string>();
  for (const { name, scope, reason } of pack.protectedNames) {
    held.set(name, `protected name: ${reason}`);
    if (scope === 'subtree') heldBelow.set(name, `below the protected name ${name}: ${reason}`);
    for (const ancestor of ancestorsOf(name)) above.set(ancestor, `covers the protected name ${name}: ${reason}`);
  }
  const media = new Set(pack.mediaNames);
  const aboveMedia = new Set(pack.mediaNames.flatMap((name) => [...ancestorsOf(name)]));

  return (name, scope, approvers) => {
    const shape = refuseShape(name, scope);
    if (shape !== undefined) return shape;
    const fault = held.get(name) ?? (scope === 'subtree' ? above.get(name) : undefined);
    if (fault !== undefined) return fault;
    let touchesMedia = media.has(name) || (scope === 'subtree' && aboveMedia.has(name));
    for (let dot = name.indexOf('.'); dot >= 0; dot = name.indexOf('.', dot + 1)) {
      const ancestor = name.slice(dot + 1);
      const below = heldBelow.get(ancestor);
      if (below !== undefined) return below;
      touchesMedia ||= media.has(ancestor);
    }
    return touchesMedia && approvers < MEDIA_APPROVALS ? 'a name of the media needs a second approval' : undefined;
  };
}

/** Returns what is wrong with a name whoever's it is. */
function refuseShape(name: string, scope: Scope): string | undefined {
  if (scope === 'url') return 'needs the URL gateway';
  if (name === ROOT_NAME) return 'the root is never blocked';
  if (isAddress(name)) return 'an IP address is never blocked';
  if (!name.includes('.')) return 'a single-label name is never blocked';
  if (!fitsWire(name)) return 'the name is longer than DNS allows';
  return getPublicSuffix(name, SUFFIX_OPTIONS) === name ? 'a public suffix is never blocked' : undefined;
}
