import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { digestList } from '../../src/register/list-digest.ts';
import { common, DAY, day, NOW, packSha256, TestRegister } from './fixture.ts';

/** Two notices, one of them with entries that differ. */
function build(): TestRegister {
  const register = new TestRegister();
  const first = register.notice(['a.example', 'b.example', 'c.example']);
  register.notice(['d.example'], { reference: 'MCMC/2', term: { expires: day(9) } });
  const varied = { remove: ['e0000003'], exclude: [{ entry: 'e0000001', names: ['ok.a.example'] }] };
  register.add({ type: 'variation', ...common('V'), notice: first, from: day(2), ...varied });
  return register;
}

describe('the digest of a list', () => {
  it('is SHA-256 over the pack and the SHA-256 of each notice as JSON, in order of id', () => {
    const register = build();
    const { folded } = register.readAt();
    const [first, second] = folded.map(({ notice }) => notice);
    const ends = [NOW + 30 * DAY, NOW + 2 * DAY];
    const lines = [
      [
        first!.id,
        first!.statement.annex.digest,
        [[NOW, ends[0]]],
        [
          ['e0000001', [[NOW, ends[0]]], [['ok.a.example', NOW + 2 * DAY]]],
          ['e0000003', [[NOW, ends[1]]], []],
        ],
      ],
      [second!.id, second!.statement.annex.digest, [[NOW, NOW + 9 * DAY]], []],
    ].sort(([one], [other]) => (one! < other! ? -1 : 1));
    const sha256 = (bytes: Uint8Array | string) => createHash('sha256').update(bytes).digest();
    const digests = lines.map((line) => sha256(JSON.stringify(line)));
    const digest = sha256(Buffer.concat([Buffer.from(`${packSha256}\n`), ...digests]));
    expect(digestList(folded, packSha256)).toBe(digest.toString('hex'));
  });

  it('does not depend on the order of the notices', () => {
    const { folded } = build().readAt();
    expect(digestList(folded.toReversed(), packSha256)).toBe(digestList(folded, packSha256));
  });

  it('tells lists of other packs, notices, times and exclusions apart', () => {
    const register = build();
    const digest = digestList(register.readAt().folded, packSha256);
    const later = digestList(register.readAt(NOW + 3 * DAY).folded, packSha256);
    register.notice(['e.example'], { reference: 'MCMC/3' });
    const more = digestList(register.readAt().folded, packSha256);
    const lapsed = digestList(register.readAt(NOW + 10 * DAY).folded, packSha256);
    const other = digestList(register.readAt().folded, 'ab'.repeat(32));
    expect(new Set([digest, later, more, lapsed, other, digestList([], packSha256)]).size).toBe(6);
  });

  it('is one thing for a thousand notices and more', () => {
    const [one] = build().readAt().folded;
    const many = Array.from({ length: 2_500 }, (_, at) => ({
      ...one!,
      notice: { ...one!.notice, id: String(at).padStart(64, '0') },
    }));
    const swapped = [...many.slice(1_200), ...many.slice(0, 1_200)];
    expect(digestList(swapped, packSha256)).toBe(digestList(many, packSha256));
    expect(digestList(many.slice(1), packSha256)).not.toBe(digestList(many, packSha256));
  });
});
