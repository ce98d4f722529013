import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { composeCanonical, isCanonical } from '../../src/register/canonical.ts';
import { readCommonHeartbeat, statementSchema } from '../../src/register/statement.ts';

const COMMON = {
  type: 'heartbeat',
  version: 1,
  authority: 'mcmc',
  reference: 'HEARTBEAT/20260301T090000Z',
  reasons: { public: 'The register is alive.' },
  signedAt: '2026-03-01T09:00:00Z',
  at: '2026-03-01T09:00:00Z',
};

/** What the long way makes of a payload; `undefined` when it refuses it. */
function readByTheSchema(payload: Buffer): unknown {
  const text = payload.toString();
  const value: unknown = JSON.parse(text);
  const result = statementSchema.safeParse(value);
  return result.success && isCanonical(value, text) ? result.data : undefined;
}

describe('a common heartbeat', () => {
  it('is read as the schema reads it', () => {
    expect(readCommonHeartbeat(composeCanonical(COMMON))).toEqual(COMMON);
    expect(readByTheSchema(composeCanonical(COMMON))).toEqual(COMMON);
  });

  it('is nothing that the schema reads in another way', () => {
    const value = fc.oneof(
      fc.string(),
      fc.constantFrom('2026-02-30T00:00:00Z', '2026-03-01T24:00:00Z', 'Mcmc', 'mcmc', 'a b', 'a"b', 'a\\b', 'é', ''),
      fc.nat(3),
    );
    const key = fc.constantFrom(...Object.keys(COMMON), 'extra');
    fc.assert(
      fc.property(fc.dictionary(key, value, { maxKeys: 2 }), fc.boolean(), (changed, isNested) => {
        const { reasons, ...rest } = changed as Record<string, unknown>;
        const nested = isNested && reasons !== undefined ? { reasons: { public: reasons } } : {};
        const payload = composeCanonical({ ...COMMON, ...rest, ...nested });
        const read = readCommonHeartbeat(payload);
        if (read !== undefined) expect(read).toEqual(readByTheSchema(payload));
      }),
      { numRuns: 2_000 },
    );
  });

  it.each([
    ['a space', ' '],
    ['a line feed', '\n'],
  ])('has nothing after it: %s', (_, tail) => {
    const payload = Buffer.concat([composeCanonical(COMMON), Buffer.from(tail)]);
    expect(readCommonHeartbeat(payload)).toBeUndefined();
  });

  it('has its keys in order, each once', () => {
    expect(readCommonHeartbeat(Buffer.from(JSON.stringify(COMMON)))).toBeUndefined();
    const twice = composeCanonical(COMMON).toString().replace('"version":1', '"version":1,"version":1');
    expect(readCommonHeartbeat(Buffer.from(twice))).toBeUndefined();
  });
});
