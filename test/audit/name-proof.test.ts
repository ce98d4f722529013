import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { AuditRegister } from '../../src/audit/audit-register.ts';
import { composeDisclosure, openDisclosure } from '../../src/audit/disclosure.ts';
import { explainNames } from '../../src/audit/explain-name.ts';
import { proveAmong } from '../../src/audit/inclusion.ts';
import { checkNameProof, composeNameProof } from '../../src/audit/name-proof.ts';
import { hashLeaf, rootOf, verifyInclusion } from '../../src/log/merkle.ts';
import { composeCanonical, hashHex } from '../../src/register/canonical.ts';
import { pack } from '../register/fixture.ts';
import { AuditDesk, HOUR, LICENSEE } from './fixture.ts';

const THIRD = { subtree: 'third.example', exclude: ['ok.third.example'] };

/** A register with two notices, changes, and heartbeats, and a second register that pins another root. */
async function createDesk() {
  const desk = await AuditDesk.create({ witnesses: 3, quorum: 2 });
  const { register } = desk;
  const old = await register.notice(['old.example'], { reference: 'N/0' });
  const notice = await register.notice([{ subtree: 'bad.example' }, 'worse.example', THIRD], {
    reference: 'N/1',
    supersedes: [old.id],
  });
  const order = { by: 'Tribunal', reference: 'T/1' };
  const target = { notice: notice.id, entries: ['e0000002'] };
  const stay = await register.publish({ type: 'stay', target, from: 'now', order });
  await register.heartbeat();
  desk.wait(HOUR);
  await register.publish({ type: 'resumption', target: stay.id, from: 'now' });
  await register.revoke(notice.id, ['e0000003']);
  return { desk, register, notice, root: readFileSync(register.rootFile) };
}

/** Proves a name as of now; undefined when it is not blocked. */
function prove(register: AuditRegister, name: string, atSeconds: number): Buffer | undefined {
  const terms = { name, licensee: LICENSEE, atSeconds };
  const reading = register.read({ size: register.sizeAt(atSeconds) });
  const report = explainNames(reading, [name], { ...terms, pack }).get(name)!;
  const coverage = report.coverages.find(({ state }) => state === 'in-force');
  return coverage && composeNameProof(register, coverage, terms);
}

// biome-ignore lint/suspicious/noExplicitAny: a forger changes what he likes
type Content = any;

/** Requires that a proof is refused as one that does not hold. */
function expectRefused(proof: Buffer, root: Uint8Array, what?: string) {
  expect(() => checkNameProof(proof, root), what).toThrow(expect.objectContaining({ code: 'proof-invalid' }));
}

/** Changes a proof and makes its own digest fit again, as a forger would. */
function forge(proof: Buffer, change: (content: Content) => void): Buffer {
  const { sha256: _, ...content } = JSON.parse(proof.toString());
  change(content);
  return composeCanonical({ ...content, sha256: hashHex(composeCanonical(content)) });
}

/** Flips one bit of text so that it stays text. */
function flip(text: string, at: number): string {
  const code = text.charCodeAt(at) ^ 1;
  return text.slice(0, at) + String.fromCharCode(code) + text.slice(at + 1);
}

describe('a name proof', () => {
  it('is checked with the pinned root alone and tells the whole chain', async () => {
    const { desk, root, notice } = await createDesk();
    const { register } = await desk.audit();
    const proof = prove(register, 'deep.bad.example', desk.nowSeconds)!;
    const proven = checkNameProof(proof, root);
    expect(proven).toMatchObject({
      name: 'deep.bad.example',
      licensee: LICENSEE,
      index: 1,
      notice: { id: notice.id, signers: ['one', 'two'], statement: { reference: 'N/1' } },
      authorities: { version: 1 },
      opened: { witnessed: true, checkpoint: { size: 6 } },
      window: { notBefore: proven.notice.startSeconds, notAfter: proven.notice.endSeconds },
    });
    expect(proven.entry.name(0)).toBe('bad.example');
    // What bears on the notice is in it: the stay, its resumption, the revocation, and what it superseded.
    expect(proven.others.map(({ statement }) => statement.type)).toEqual([
      'notice',
      'stay',
      'resumption',
      'revocation',
    ]);
    expect(proof.toString()).not.toContain('worse.example');
  });

  it('is had for a time that is past, and not for one when the name was not blocked', async () => {
    const { desk, root } = await createDesk();
    const { register } = await desk.audit();
    const now = desk.nowSeconds;
    expect(prove(register, 'third.example', now)).toBeUndefined();
    expect(checkNameProof(prove(register, 'third.example', now - HOUR)!, root)).toMatchObject({
      atSeconds: now - HOUR,
    });
    expect(prove(register, 'ok.third.example', now - HOUR)).toBeUndefined();
    expect(prove(register, 'worse.example', now - HOUR)).toBeUndefined();
    expect(prove(register, 'worse.example', now)).toBeDefined();
    expect(prove(register, 'old.example', now)).toBeUndefined();
  });

  it('is refused when any byte of it is another', async () => {
    const { desk, root } = await createDesk();
    const { register } = await desk.audit();
    const proof = prove(register, 'bad.example', desk.nowSeconds)!;
    fc.assert(
      fc.property(fc.nat(proof.length - 1), fc.integer({ min: 1, max: 255 }), (at, mask) => {
        const spoiled = Buffer.from(proof);
        spoiled[at]! ^= mask;
        expectRefused(spoiled, root);
      }),
      { numRuns: 300 },
    );
    expectRefused(Buffer.concat([proof, Buffer.from('\n')]), root);
    expectRefused(proof.subarray(1), root);
    expect(checkNameProof(proof, root).name).toBe('bad.example');
  });

  it('is refused when any link of it is forged, its own digest made to fit', async () => {
    const { desk, root } = await createDesk();
    const { register } = await desk.audit();
    const proof = prove(register, 'bad.example', desk.nowSeconds)!;
    const forgeries: Record<string, (content: Content) => void> = {
      name: (content) => Object.assign(content, { name: 'good.example' }),
      parent: (content) => Object.assign(content, { name: 'example' }),
      time: (content) => Object.assign(content, { at: '2027-03-01T09:00:00Z' }),
      before: (content) => Object.assign(content, { at: '2026-02-01T09:00:00Z' }),
      'another notice': (content) => Object.assign(content, { notice: 'ab'.repeat(32) }),
      entry: ({ entry }) => Object.assign(entry, { line: entry.line.replaceAll('bad.example', 'good.example') }),
      salt: ({ entry }) => Object.assign(entry, { line: flip(entry.line, entry.line.length - 20) }),
      'entry position': ({ entry }) => Object.assign(entry, { index: 1 }),
      'entry proof': ({ entry }) => entry.proof.pop(),
      'entry proof hash': ({ entry }) => entry.proof.splice(0, 1, flip(entry.proof[0], 5)),
      leaf: ({ statements }) =>
        Object.assign(statements[1], { leaf: statements[1].leaf.replace('09:00:00Z', '08:00:00Z') }),
      'leaf position': ({ statements }) => statements[1].index++,
      'leaf proof': ({ statements }) => statements[1].proof.push('00'.repeat(32)),
      'without the notice': ({ statements }) => statements.splice(1, 1),
      'without what it superseded': ({ statements }) => statements.splice(0, 1),
      'checkpoint root': (content) =>
        Object.assign(content, { checkpoint: flip(content.checkpoint, content.checkpoint.indexOf('\n6\n') + 8) }),
      'checkpoint size': (content) =>
        Object.assign(content, { checkpoint: content.checkpoint.replace('\n6\n', '\n7\n') }),
      'without witnesses': (content) => {
        content.checkpoint = `${content.checkpoint.split('\n').slice(0, 5).join('\n')}\n`;
      },
      authorities: ({ trust }) =>
        Object.assign(trust, { 'authorities.json': trust['authorities.json'].replace('"quorum":2', '"quorum":0') }),
      'another root': ({ trust }) => {
        trust['1.root.json'] = trust['1.root.json'].replace(/"version": ?1/, '"version":2');
      },
      'policy pack': (content) =>
        Object.assign(content, { pack: content.pack.replace('maxDays: 365', 'maxDays: 366') }),
    };
    for (const [what, change] of Object.entries(forgeries)) {
      const forged = forge(proof, change);
      expect(forged.equals(proof), what).toBe(false);
      expectRefused(forged, root, what);
    }
    expect(
      checkNameProof(
        forge(proof, () => {}),
        root,
      ).name,
    ).toBe('bad.example');
  });

  it('is not made of a page, which says nothing of its host', async () => {
    const { desk, root } = await createDesk();
    await desk.register.notice([{ url: 'http://paged.example/' }], { reference: 'P/1' });
    const { register } = await desk.audit();
    const terms = { name: 'paged.example', licensee: LICENSEE, atSeconds: desk.nowSeconds };
    const report = explainNames(register.read(), [terms.name], { ...terms, pack }).get(terms.name)!;
    expect(report).toMatchObject({ blocked: false, steered: true });
    expect(report.coverages.map(({ state, answer, page }) => [state, answer, page])).toEqual([
      ['page', 'steer', { url: 'http://paged.example/', https: 'passed' }],
    ]);
    expect(prove(register, terms.name, terms.atSeconds)).toBeUndefined();
    expectRefused(composeNameProof(register, report.coverages[0]!, terms), root);
  });

  it('is refused by whoever pinned another root', async () => {
    const { desk } = await createDesk();
    const { register } = await desk.audit();
    const proof = prove(register, 'bad.example', desk.nowSeconds)!;
    const other = await AuditDesk.create({ origin: 'other.test/log' });
    expectRefused(proof, Buffer.from('{}'));
    // The same TUF keys in every test register; another key set is made by a rotation.
    other.register.rotateTrust('other');
    const rotated = readFileSync(join(other.register.publicFolder, 'trust/2.root.json'));
    expectRefused(proof, rotated);
  });
});

describe('a disclosure', () => {
  const NAMES = [
    'first-secret.example',
    'second-secret.example',
    'third-secret.example',
    'fourth-secret.example',
    'fifth.example',
  ];

  /** A register with a sealed notice; its annex as the regulator holds it. */
  async function createSealed() {
    const desk = await AuditDesk.create();
    await desk.register.notice(['open.example']);
    const notice = await desk.register.notice(NAMES, { sealed: true, reference: 'N/S' });
    await desk.register.heartbeat();
    return { desk, notice, annex: notice.annex!.bytes };
  }

  it('shows one entry of a sealed notice to whoever has public files only, and no other name or salt', async () => {
    const { desk, notice, annex } = await createSealed();
    const { register } = await desk.audit();
    const lines = annex.toString().trimEnd().split('\n');
    for (const [at, name] of NAMES.entries()) {
      const disclosure = composeDisclosure(register, notice.id, annex, at);
      const { notice: found, entry } = openDisclosure(register, disclosure);
      expect([found.id, found.statement.reference, entry.count, entry.name(0)]).toEqual([notice.id, 'N/S', 1, name]);
      const text = disclosure.toString();
      for (const [other, line] of lines.entries()) {
        const { entry: hidden, salt } = JSON.parse(line);
        expect(text.includes(hidden.canonical)).toBe(other === at);
        expect(text.includes(salt)).toBe(other === at);
      }
    }
  });

  it('is refused when any byte of it is another, or when it is of another register or notice', async () => {
    const { desk, notice, annex } = await createSealed();
    const { register } = await desk.audit();
    const disclosure = composeDisclosure(register, notice.id, annex, 2);
    fc.assert(
      fc.property(fc.nat(disclosure.length - 1), fc.integer({ min: 1, max: 255 }), (at, mask) => {
        const spoiled = Buffer.from(disclosure);
        spoiled[at]! ^= mask;
        expect(() => openDisclosure(register, spoiled)).toThrow();
      }),
      { numRuns: 300 },
    );
    const other = await AuditDesk.create({ origin: 'other.test/log' });
    await other.register.heartbeat();
    const elsewhere = await other.audit();
    expect(() => openDisclosure(elsewhere.register, disclosure)).toThrow('is the register other.test/log');
    const moved = JSON.parse(disclosure.toString());
    const [open] = register.read().statements;
    const toOpen = composeCanonical({ ...moved, notice: open!.id });
    expect(() => openDisclosure(register, toOpen)).toThrow('not of this annex');
    expect(() => openDisclosure(register, composeCanonical({ ...moved, notice: 'ab'.repeat(32) }))).toThrow(
      'no good notice',
    );
  });

  it('is not made from an annex that is not the one in the log', async () => {
    const { desk, notice, annex } = await createSealed();
    const { register } = await desk.audit();
    const changed = Buffer.from(
      annex.toString().replace('fifth.example', 'tenth.example').replace('fifth.example', 'tenth.example'),
    );
    expect(() => composeDisclosure(register, notice.id, changed, 0)).toThrow('digest differs');
    expect(() => composeDisclosure(register, notice.id, annex, 5)).toThrow('no leaf 5');
  });
});

describe('proveAmong', () => {
  it('makes proofs that the log accepts, for every leaf of trees of every size', () => {
    for (let size = 1; size <= 40; size++) {
      const hashes = Array.from({ length: size }, (_, at) => hashLeaf(Buffer.from([at])));
      for (let index = 0; index < size; index++) {
        const proof = proveAmong(Buffer.concat(hashes), index);
        expect(() => verifyInclusion(hashes[index]!, index, size, proof, rootOf(hashes))).not.toThrow();
        expect(() => verifyInclusion(hashes[index]!, index + 1, size, proof, rootOf(hashes))).toThrow();
      }
    }
    expect(() => proveAmong(Buffer.alloc(64), 2)).toThrow('no leaf 2');
  });
});
