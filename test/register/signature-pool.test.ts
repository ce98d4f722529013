import { describe, expect, it } from 'vitest';
import { parseEnvelope, type Signer, signEnvelope } from '../../src/register/envelope.ts';
import { judgeAhead, SignaturePool } from '../../src/register/signature-pool.ts';
import { checkStatement, type StatementLeaf } from '../../src/register/verify-statement.ts';
import { authorities, common, composeNotice, day, NOW, pack, signerOf, TestRegister } from './fixture.ts';

/** An officer's signature under the name of another. */
const posing = (id: string, as: string): Signer => ({ ...signerOf(id), keyId: `mcmc/${as}` });

/** Leaves of every kind of signing: good, too few, under a false name, of another text, none, no envelope at all. */
function composeLeaves(): StatementLeaf[] {
  const register = new TestRegister();
  register.notice(['a.example']);
  register.notice(['b.example'], {}, ['one']);
  register.notice(['c.example'], {}, []);
  const payload = parseEnvelope(register.leaves[0].envelope).payload;
  const good = JSON.parse(Buffer.from(register.leaves[0].envelope).toString());
  const other = JSON.parse(Buffer.from(register.leaves[1].envelope).toString());
  const envelopes = [
    ...register.leaves.map(({ envelope }) => envelope),
    signEnvelope(payload, [posing('one', 'two'), posing('two', 'one')]),
    signEnvelope(payload, [signerOf('one'), posing('one', 'two')]),
    Buffer.from(JSON.stringify({ ...other, signatures: good.signatures })),
    Buffer.from(
      JSON.stringify({ ...good, signatures: good.signatures.map((one: object) => ({ ...one, keyid: 'x' })) }),
    ),
    Buffer.from('no envelope'),
    new Uint8Array(0),
  ];
  return envelopes.map((envelope, at) => ({ name: `#${at}`, key: `#${at}`, envelope, integratedAtSeconds: NOW }));
}

function outcomeOf(leaf: StatementLeaf, known?: SignaturePool): unknown {
  try {
    return checkStatement(leaf, { authorities, pack, known }).signers;
  } catch (error) {
    return (error as { code: string }).code;
  }
}

describe('signatures verified ahead', () => {
  it('come to what verifying them in place comes to, in the same order', async () => {
    const leaves = composeLeaves();
    const expected = leaves.map((leaf) => outcomeOf(leaf));
    const pool = new SignaturePool(authorities);
    const outcomes: unknown[] = [];
    await judgeAhead(leaves, pool, (leaf) => outcomes.push(outcomeOf(leaf, pool)));
    expect(outcomes).toEqual(expected);
    expect(new Set(expected.map(String)).size).toBeGreaterThanOrEqual(3);
    expect(expected[0]).toHaveLength(2);
  });

  it('hand on each of many leaves once and in order', async () => {
    const [first] = composeLeaves();
    const leaves = Array.from({ length: 1000 }, (_, at) => ({ ...first, name: `#${at}` }));
    const seen: string[] = [];
    await judgeAhead(leaves, new SignaturePool(authorities), ({ name }) => seen.push(name));
    expect(seen).toEqual(leaves.map(({ name }) => name));
  });

  it('are known of the envelope they were verified in, and of no other with the same bytes', async () => {
    const pool = new SignaturePool(authorities);
    const payload = Buffer.from(JSON.stringify(composeNotice({})));
    const envelope = parseEnvelope(signEnvelope(payload, [signerOf('one')]));
    const [signature] = envelope.signatures;
    const [officer] = authorities.byId.get('mcmc')!.officers.filter(({ id }) => id === 'one');
    expect(pool.isBy(signature, officer.publicKey)).toBe(false);
    await pool.verifyAhead(envelope);
    expect(pool.isBy(signature, officer.publicKey)).toBe(true);
    expect(pool.isBy({ ...signature }, officer.publicKey)).toBe(false);
    expect(pool.isBy(signature, 'another key')).toBe(false);
  });

  it('are not verified of heartbeats where only rules matter', async () => {
    const register = new TestRegister();
    register.notice(['a.example']);
    register.add({ type: 'heartbeat', ...common('B'), at: day(0) }, ['one']);
    const [officer] = authorities.byId.get('mcmc')!.officers.filter(({ id }) => id === 'one');
    const knows = async (pool: SignaturePool) => {
      const envelopes = register.leaves.map(({ envelope }) => parseEnvelope(envelope));
      for (const envelope of envelopes) await pool.verifyAhead(envelope);
      return envelopes.map(({ signatures }) => signatures.some((one) => pool.isBy(one, officer.publicKey)));
    };
    expect(await knows(new SignaturePool(authorities))).toEqual([true, true]);
    expect(await knows(new SignaturePool(authorities, true))).toEqual([true, false]);
  });
});
