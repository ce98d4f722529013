import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isBelow } from '../../src/register/entry-name.ts';
import { createGuard } from '../../src/register/guard.ts';
import { pack } from './fixture.ts';

const guard = createGuard(pack);
const protectedNames = pack.protectedNames.map(({ name }) => name);
const listed = [...protectedNames, ...pack.mediaNames];

/** What kind of reason the pack gives, asked name by name and by the letter; undefined for none. */
function kindOf(name: string, subtree: boolean, approvers: number): string | undefined {
  if (protectedNames.includes(name)) return 'protected name:';
  if (subtree && protectedNames.some((other) => isBelow(other, name))) return 'covers the protected name';
  const above = pack.protectedNames.filter((one) => one.scope === 'subtree' && isBelow(name, one.name));
  if (above.length > 0) return 'below the protected name';
  const touches = pack.mediaNames.some(
    (media) => name === media || isBelow(name, media) || (subtree && isBelow(media, name)),
  );
  return touches && approvers < 2 ? 'a name of the media' : undefined;
}

describe('the guard-rails', () => {
  it('refuse what an oracle refuses that asks name by name', () => {
    const near = fc
      .constantFrom(...listed)
      .chain((name) =>
        fc.constantFrom(
          name,
          `a.${name}`,
          `a.b.${name}`,
          `x${name}`,
          `x${name.slice(1)}`,
          name.slice(name.indexOf('.') + 1),
          `other.${name.slice(name.indexOf('.') + 1)}`,
          'plain.example',
        ),
      );
    const kinds = new Map<string | undefined, number>();
    fc.assert(
      fc.property(near, fc.boolean(), fc.integer({ min: 1, max: 3 }), (name, subtree, approvers) => {
        const reason = guard(name, subtree ? 'subtree' : 'exact', approvers);
        if (reason === 'a public suffix is never blocked' || reason?.includes('single-label')) return;
        const kind = kindOf(name, subtree, approvers);
        kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
        if (kind === undefined) expect(reason, name).toBeUndefined();
        else expect(reason, name).toMatch(new RegExp(`^${kind}`));
      }),
      { numRuns: 3_000, seed: 1 }, // the same names in every run, so that each kind is among them
    );
    expect(kinds.size).toBe(5);
  });

  it.each([
    ['1.2.3.4', 'an IP address'],
    ['.', 'the root'],
    ['com', 'single-label'],
    ['co.uk', 'a public suffix'],
    ['github.io', 'a public suffix'],
    [`${'a'.repeat(64)}.example`, 'longer than DNS allows'],
  ])('refuse %s: %s', (name, reason) => {
    expect(guard(name, 'exact', 3)).toContain(reason);
  });

  it('let a name through that only ends in a digit', () => {
    expect(guard('1.2.3.x4', 'subtree', 1)).toBeUndefined();
  });
});
