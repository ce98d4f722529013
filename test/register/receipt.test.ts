import { sign } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { composeCanonical } from '../../src/register/canonical.ts';
import { composePreAuthentication } from '../../src/register/envelope.ts';
import { publicKeyOf } from '../../src/register/key.ts';
import {
  composeReceipt,
  describePages,
  describeRejected,
  MAX_REJECTED,
  NodeRegistry,
  RECEIPT_MAX_BYTES,
  RECEIPT_PAYLOAD_TYPE,
  type Receipt,
  receiptPath,
  signReceipt,
  verifyReceipt,
} from '../../src/register/receipt.ts';
import type { Verdict } from '../../src/register/verify-statement.ts';
import { keys } from './fixture.ts';

const key = keys.one;
const registry = NodeRegistry.parse(
  JSON.stringify([
    { licensee: 'NSP(I)/2021/001', node: 'kl-1', publicKey: publicKeyOf(key) },
    { licensee: 'NSP(I)/2021/002', node: 'kl-1', publicKey: publicKeyOf(keys.two) },
  ]),
);
const findKey = (licensee: string, node: string) => registry.find(licensee, node);

const receipt: Receipt = {
  version: 1,
  origin: 'log.example/register',
  licensee: 'NSP(I)/2021/001',
  node: 'kl-1',
  treeSize: 7,
  rootHash: 'ab'.repeat(32),
  authoritiesVersion: 3,
  rules: 40,
  rulesDigest: 'cd'.repeat(32),
  foldedAt: '2026-03-01T09:00:00Z',
  appliedAt: '2026-03-01T09:00:01Z',
  mode: 'enforce',
  statements: { ok: 6, void: 1 },
  rejected: [{ statement: '4', code: 'statement-unsigned', reason: '1 of 2 signatures' }],
  refusedEntries: 2,
};

const invalid = expect.objectContaining({ code: 'receipt-invalid' });

/** An envelope around any payload, signed. */
function wrap(payload: Uint8Array, type = RECEIPT_PAYLOAD_TYPE, privateKey = key) {
  const sig = sign(null, composePreAuthentication(type, payload), privateKey).toString('base64');
  return { payloadType: type, payload: Buffer.from(payload).toString('base64'), signatures: [{ sig }] };
}

/** Spells base64 of 64 bytes in another way that lenient decoders take for the same. */
function loosen(base64: string): string {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
  return `${base64.slice(0, -3)}${alphabet[alphabet.indexOf(base64.at(-3)!) + 1]}==`;
}

const bytesOf = (value: unknown) => Buffer.from(JSON.stringify(value));

describe('a receipt', () => {
  it('comes back as it was signed', () => {
    expect(verifyReceipt(signReceipt(receipt, key), findKey)).toEqual(receipt);
  });

  it('may say what its list has of pages', () => {
    const told = { ...receipt, ...describePages({ pages: 3, httpOnlyPages: 2 }, false) };
    expect(told.pages).toEqual({ entries: 3, httpOnly: 2, steered: false });
    expect(verifyReceipt(signReceipt(told, key), findKey)).toEqual(told);
    expect(describePages({ pages: 0, httpOnlyPages: 0 }, true)).toEqual({});
  });

  it('has the same bytes each time, so that sending it twice changes nothing', () => {
    expect(signReceipt({ ...receipt }, key).equals(signReceipt(receipt, key))).toBe(true);
  });

  it.each([
    ['an unknown key', { extra: 1 }],
    ['another version', { version: 2 }],
    ['a root in base64', { rootHash: Buffer.alloc(32).toString('base64') }],
    ['a time with a fraction', { appliedAt: '2026-03-01T09:00:01.5Z' }],
    ['a mode that is none', { mode: 'off' }],
    ['a negative count', { rules: -1 }],
    ['pages of which there are none', { pages: { entries: 0, httpOnly: 0, steered: true } }],
    ['more pages on HTTP alone than there are', { pages: { entries: 1, httpOnly: 2, steered: true } }],
    ['a node with a slash', { node: 'kl/1' }],
    ['a node that is a path', { node: '..' }],
    ['too many rejected', { rejected: Array(MAX_REJECTED + 1).fill(receipt.rejected[0]) }],
  ])('is refused with %s, when it is made and when it arrives', (_case, change) => {
    const changed = { ...receipt, ...change } as Receipt;
    expect(() => composeReceipt(changed)).toThrow(invalid);
    expect(() => verifyReceipt(bytesOf(wrap(composeCanonical(changed))), findKey)).toThrow(invalid);
  });

  const good = wrap(composeReceipt(receipt));
  it.each([
    ['no JSON', Buffer.from('<html>')],
    ['no UTF-8', Buffer.from([0xff, 0xfe])],
    ['nothing', Buffer.alloc(0)],
    ['an envelope with more keys', bytesOf({ ...good, extra: 1 })],
    ['no signature', bytesOf({ ...good, signatures: [] })],
    ['two signatures', bytesOf({ ...good, signatures: [...good.signatures, ...good.signatures] })],
    ['a payload that is no base64', bytesOf({ ...good, payload: '*' })],
    ['a signature with loose last bits', bytesOf({ ...good, signatures: [{ sig: loosen(good.signatures[0].sig) }] })],
    ['a signature with a key id', bytesOf({ ...good, signatures: [{ ...good.signatures[0], keyid: 'x' }] })],
    ['a payload in another spelling', bytesOf(wrap(Buffer.from(JSON.stringify(receipt, null, 1))))],
    [
      'a statement signed by the same key',
      bytesOf(wrap(composeReceipt(receipt), 'application/vnd.warta.statement+json')),
    ],
    [
      'the signature of a statement',
      bytesOf({ ...wrap(composeReceipt(receipt), 'x'), payloadType: RECEIPT_PAYLOAD_TYPE }),
    ],
    ['a signature by another key', bytesOf(wrap(composeReceipt(receipt), RECEIPT_PAYLOAD_TYPE, keys.two))],
    ['too many bytes', Buffer.concat([bytesOf(good), Buffer.alloc(RECEIPT_MAX_BYTES, ' ')])],
  ])('is refused when it is %s', (_case, bytes) => {
    expect(() => verifyReceipt(bytes, findKey)).toThrow(invalid);
  });

  it('cannot speak for the same node of another licensee', () => {
    const other = signReceipt({ ...receipt, licensee: 'NSP(I)/2021/002' }, key);
    expect(() => verifyReceipt(other, findKey)).toThrow(invalid);
  });

  it('says so when its node is not enrolled', () => {
    const stranger = signReceipt({ ...receipt, node: 'kl-2' }, key);
    expect(() => verifyReceipt(stranger, findKey)).toThrow(expect.objectContaining({ code: 'credential-invalid' }));
  });

  it('fails when any one bit of it is turned', () => {
    const bytes = signReceipt(receipt, key);
    fc.assert(
      fc.property(fc.nat(bytes.length * 8 - 1), (bit) => {
        const turned = Buffer.from(bytes);
        turned[bit >> 3] ^= 1 << (bit & 7);
        expect(() => verifyReceipt(turned, findKey)).toThrow(expect.objectContaining({ name: 'WartaError' }));
      }),
      { numRuns: 300 },
    );
  });

  it('fits its limit with the longest list of rejected statements', () => {
    const verdict: Verdict = {
      name: '"'.repeat(200),
      ok: false,
      code: 'statement-out-of-scope',
      reason: `${'😀'.repeat(10)}${'\\'.repeat(9000)}`,
    };
    const rejected = describeRejected(Array(500).fill(verdict));
    expect(rejected).toHaveLength(MAX_REJECTED);
    const bytes = signReceipt({ ...receipt, rejected }, key);
    expect(verifyReceipt(bytes, findKey).rejected).toEqual(rejected);
    expect(rejected[0].reason).toHaveLength(200);
  });
});

describe('describeRejected', () => {
  it('lists void statements only', () => {
    const verdicts: Verdict[] = [
      { name: '0', ok: true },
      { name: '1', ok: false, code: 'statement-unsigned', reason: 'no signature' },
    ];
    expect(describeRejected(verdicts)).toEqual([
      { statement: '1', code: 'statement-unsigned', reason: 'no signature' },
    ]);
  });

  it('keeps what may be a sealed name to itself', () => {
    const verdict: Verdict = {
      name: '1',
      ok: false,
      code: 'annex-malformed',
      reason: 'line 3: secret.example is no name',
    };
    expect(JSON.stringify(describeRejected([verdict]))).not.toContain('secret.example');
  });
});

describe('receiptPath', () => {
  it('has one folder a licensee and a node', () => {
    expect(receiptPath(receipt)).toBe('receipts/NSP_28I_29_2f2021_2f001/kl-1/20260301T090001Z-7.json');
  });

  it('gives different licence numbers different paths and never leaves its folder', () => {
    const licence = fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9()./_-]{0,20}$/);
    fc.assert(
      fc.property(licence, licence, (one, other) => {
        const [path, second] = [one, other].map((licensee) => receiptPath({ ...receipt, licensee }));
        expect(path === second).toBe(one === other);
        expect(path.split('/')).toHaveLength(4);
        expect(path).toMatch(/^receipts(\/[A-Za-z0-9][A-Za-z0-9._-]*){3}$/);
      }),
    );
  });
});

describe('NodeRegistry', () => {
  const node = { licensee: 'A', node: 'b', publicKey: publicKeyOf(key) };

  it.each([
    ['no JSON', 'nodes'],
    ['no list', '{}'],
    ['an unknown key', JSON.stringify([{ ...node, role: 'admin' }])],
    ['a key that is none', JSON.stringify([{ ...node, publicKey: 'AAAA' }])],
    ['one node twice', JSON.stringify([node, node])],
  ])('refuses %s', (_case, json) => {
    expect(() => NodeRegistry.parse(json)).toThrow(expect.objectContaining({ code: 'config-invalid' }));
  });

  it('enrols a node, and gives it another key', () => {
    const enrolled = NodeRegistry.parse(NodeRegistry.parse('[]').enrol(node));
    expect(enrolled.nodes).toEqual([node]);
    const renewed = NodeRegistry.parse(enrolled.enrol({ ...node, publicKey: publicKeyOf(keys.two) }));
    expect(renewed.nodes).toHaveLength(1);
    expect(renewed.findByName('A/b')!.equals(keys.two)).toBe(false);
    expect(publicKeyOf(keys.two)).toBe(renewed.nodes[0].publicKey);
  });

  it('does not mix up licensee and node', () => {
    const two = NodeRegistry.parse(JSON.stringify([{ ...node, licensee: 'A/b', node: 'c' }]));
    expect(two.find('A', 'b/c')).toBe(two.find('A/b', 'c'));
    expect(() => signReceipt({ ...receipt, licensee: 'A', node: 'b/c' }, key)).toThrow(invalid);
  });
});
