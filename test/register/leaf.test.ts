import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { composeLeaf, LEAF_MAX_BYTES, parseLeaf } from '../../src/register/leaf.ts';
import { formatInstant, NO_END_SECONDS } from '../../src/register/time.ts';
import { NOW } from './fixture.ts';

const ENVELOPE = Buffer.from('{"payload":"e30=","payloadType":"t","signatures":[]}');
const LEAF = composeLeaf(ENVELOPE, NOW);

/** Puts a leaf together by its framing alone. */
function frame(envelope: Uint8Array | string, time: string): Buffer {
  return Buffer.concat([Buffer.from('{"envelope":'), Buffer.from(envelope), Buffer.from(`,"integratedAt":"${time}"}`)]);
}

const isMalformed = expect.objectContaining({ code: 'leaf-malformed' });

describe('a leaf', () => {
  it('is the envelope and the time in canonical JSON', () => {
    expect(LEAF.toString()).toBe(`{"envelope":${ENVELOPE},"integratedAt":"2026-03-01T09:00:00Z"}`);
  });

  it('is read back, whatever the envelope and the spelling it came in', () => {
    const envelope = fc.dictionary(fc.string(), fc.jsonValue(), { noNullPrototype: true });
    fc.assert(
      fc.property(envelope, fc.nat(NO_END_SECONDS - 1), (value, seconds) => {
        const leaf = composeLeaf(Buffer.from(JSON.stringify(value, null, 1)), seconds);
        const parsed = parseLeaf(leaf);
        expect(parsed.integratedAtSeconds).toBe(seconds);
        expect(JSON.parse(Buffer.from(parsed.envelope).toString())).toEqual(JSON.parse(JSON.stringify(value)));
        expect(JSON.parse(leaf.toString())).toEqual({
          envelope: JSON.parse(Buffer.from(parsed.envelope).toString()),
          integratedAt: formatInstant(seconds),
        });
      }),
    );
  });

  it.each(['', 'null', '[]', '"text"', '1', '{"a":1', '{"a":"\\ud800"}'])('is not made of %j', (text) => {
    expect(() => composeLeaf(Buffer.from(text), NOW)).toThrow(isMalformed);
  });

  it('has at most 65,535 bytes', () => {
    const fill = LEAF_MAX_BYTES - composeLeaf(Buffer.from('{"a":""}'), NOW).length;
    const largest = composeLeaf(Buffer.from(`{"a":"${'x'.repeat(fill)}"}`), NOW);
    expect(largest).toHaveLength(LEAF_MAX_BYTES);
    expect(parseLeaf(largest).integratedAtSeconds).toBe(NOW);
    expect(() => composeLeaf(Buffer.from(`{"a":"${'x'.repeat(fill + 1)}"}`), NOW)).toThrow(isMalformed);
    expect(() => parseLeaf(frame('x'.repeat(LEAF_MAX_BYTES), formatInstant(NOW)))).toThrow(isMalformed);
  });

  it('is taken apart only if it is framed exactly', () => {
    const piece = fc.constantFrom(
      '{"envelope":',
      ',"integratedAt":"',
      '"}',
      '2026-03-01T09:00:00Z',
      '{}',
      ' ',
      '"',
      '}',
    );
    const bytes = fc.oneof(
      fc.array(piece, { maxLength: 8 }).map((pieces) => Buffer.from(pieces.join(''))),
      fc.tuple(fc.nat(LEAF.length - 1), fc.nat(255)).map(([at, octet]) => {
        const changed = Buffer.from(LEAF);
        changed[at] = octet;
        return changed;
      }),
      fc.tuple(fc.nat(LEAF.length), fc.nat(LEAF.length)).map(([from, to]) => LEAF.subarray(from, to)),
    );
    let good = 0;
    fc.assert(
      fc.property(bytes, (leaf) => {
        let parsed: ReturnType<typeof parseLeaf>;
        try {
          parsed = parseLeaf(leaf);
        } catch (error) {
          expect(error).toEqual(isMalformed);
          return;
        }
        good++;
        expect(frame(parsed.envelope, formatInstant(parsed.integratedAtSeconds)).equals(leaf)).toBe(true);
      }),
      { numRuns: 3_000 },
    );
    expect(good).toBeGreaterThan(100);
  });

  it('has one time, the last: an envelope that looks like a leaf is only a bad envelope', () => {
    const inner = `{},"integratedAt":"${formatInstant(NOW - 9)}"}`;
    expect(parseLeaf(frame(inner, formatInstant(NOW)))).toEqual({
      envelope: Buffer.from(inner),
      integratedAtSeconds: NOW,
    });
  });
});
