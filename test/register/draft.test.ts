import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { parseAuthorities } from '../../src/register/authorities.ts';
import { compileRules } from '../../src/register/compile.ts';
import { composeDraft } from '../../src/register/draft.ts';
import { signEnvelope } from '../../src/register/envelope.ts';
import { createKey, publicKeyOf, readPrivateKey, writePrivateKey } from '../../src/register/key.ts';
import { parsePack } from '../../src/register/pack.ts';
import { readRegister } from '../../src/register/read-register.ts';
import type { Notice } from '../../src/register/statement.ts';
import { createRandom, createRecorder, DAY, day, LICENSEE, NOW, officer, pack, packSha256 } from './fixture.ts';

const SAMPLES = new URL('../../policies/samples/', import.meta.url);
const folder = mkdtempSync(join(tmpdir(), 'warta-draft-'));
afterAll(() => rmSync(folder, { recursive: true }));

const options = () => ({ nowSeconds: NOW, random: createRandom() });
const sample = (name: string) => readFileSync(new URL(name, SAMPLES), 'utf8');

/** Keys made and written as an officer would, and the authorities that pin them. */
function enrol() {
  const own = mkdtempSync(join(folder, 'keys-'));
  const signers = ['officer-one', 'officer-two'].map((id) => {
    const path = join(own, `${id}.pem`);
    writePrivateKey(path, createKey().privatePem);
    return { keyId: id, privateKey: readPrivateKey(path) };
  });
  const officers = signers.map(({ keyId, privateKey }) => ({
    ...officer('one', 'approving-officer'),
    id: keyId,
    publicKey: publicKeyOf(privateKey),
  }));
  const file = {
    version: 1,
    policyPack: { id: pack.id, sha256: packSha256 },
    authorities: [
      {
        id: 'mcmc',
        name: 'MCMC',
        categories: pack.categories.map(({ id }) => id),
        instruments: pack.instruments.map(({ id }) => id),
        thresholds: { notice: 2, release: 1 },
        officers,
      },
    ],
  };
  return { signers, authorities: parseAuthorities(JSON.stringify(file), packSha256) };
}

describe('from draft to rules', () => {
  it('takes the samples all the way', () => {
    const { signers, authorities } = enrol();
    const annexes = new Map<string, Uint8Array>();
    const leaves = readdirSync(SAMPLES).map((name) => {
      const { payload, annex } = composeDraft(sample(name), options());
      annexes.set(annex!.digest, annex!.bytes);
      const first = signEnvelope(payload, signers.slice(0, 1));
      return { name, envelope: signEnvelope(payload, signers.slice(1), first) };
    });
    const source = { read: (digest: string) => annexes.get(digest) };
    const reading = readRegister(leaves, source, { authorities, pack, licensee: LICENSEE, nowSeconds: NOW });
    expect(reading.verdicts.filter(({ ok }) => !ok)).toEqual([]);
    const recorder = createRecorder();
    const { refused } = compileRules(reading.folded, pack, recorder);
    expect(recorder.rules.map(({ name, trigger, action }) => `${action} ${trigger} ${name}`).sort()).toEqual([
      'block exact invest-now.example',
      'block exact login.parcel-fee.example',
      'block exact phishing-kit.example',
      'block exact scam-bank.example',
      'block subtree invest-now.example',
      'block subtree lucky-spin.example',
      'block subtree lucky-spin.test',
      'block subtree minister-invests.example',
      'passthru subtree complaints.invest-now.example',
      'steer exact shop.phishing-kit.test',
    ]);
    expect(recorder.pages.map(({ url }) => url)).toEqual(['https://shop.phishing-kit.test/pay?step=1']);
    expect(refused.map(({ name }) => name)).toEqual(['cdn.jsdelivr.net', 'github.io']);
    const ends = Object.fromEntries(recorder.rules.map(({ name, notAfter }) => [name, notAfter]));
    expect(ends['scam-bank.example']).toBe(NOW + 30 * DAY);
    expect(ends['login.parcel-fee.example']).toBe(NOW + 7 * DAY);
    expect(ends['minister-invests.example']).toBe(0xffffffff);
  });
});

describe('composeDraft', () => {
  const edited = (from: string | RegExp, to: string) =>
    composeDraft(sample('scam-phishing.yaml').replace(from, to), options());

  it('counts spans from when the notice takes effect', () => {
    const { statement } = edited('effectiveFrom: now', 'effectiveFrom: 2d');
    const notice = statement as Notice;
    expect(notice.dates).toEqual({ made: day(0), approved: day(0), effectiveFrom: day(2) });
    expect(notice.term).toEqual({ expires: day(32) });
  });

  it('is the same for the same draft, time and salts', () => {
    const twice = [edited('', ''), edited('', '')];
    expect(twice[0].payload.equals(twice[1].payload)).toBe(true);
    expect(twice[0].annex!.bytes.equals(twice[1].annex!.bytes)).toBe(true);
  });

  it('drafts a change', () => {
    const text = `
      type: stay
      authority: mcmc
      reference: MCMC/2026/S1
      reasons: { public: By order of the court. }
      target: { notice: ${'a'.repeat(64)} }
      from: now
      until: 14d
      order: { by: High Court, reference: WA-1 }`;
    const { statement, annex } = composeDraft(text, options());
    expect(statement).toMatchObject({ type: 'stay', from: day(0), until: day(14), signedAt: day(0), version: 1 });
    expect(annex).toBeUndefined();
  });

  it.each([
    ['an unknown key', /^offence:/m, 'offense:', 'offen'],
    ['a missing key', /^territory:.*$/m, '', 'territory'],
    ['a span it does not know', 'expires: 30d', 'expires: 4w', 'term'],
    ['a key deep down', "'tel:+60-3-5550-0100'", "'+60-3-5550-0100'", 'redress.contacts.1'],
    ['names that are none', 'scam-bank.example', '"*.scam-bank.example"', '*.scam-bank.example'],
    ['no names', /^names:[\s\S]*/m, '', 'names'],
    ['YAML that is none', 'type: notice', 'type: [notice', 'draft'],
    ['an exclusion that is not below', 'complaints.invest-now.example', 'complaints.example', 'complaints.example'],
    ['reasons that do not fit', /public: .*/, `public: "${'x'.repeat(8001)}"`, 'reasons.public'],
  ])('names %s', (_case, from, to, key) => expect(() => edited(from, to)).toThrow(key));
});

describe('keys', () => {
  it('are written for their owner alone and never overwritten', () => {
    const path = join(folder, 'new', 'key.pem');
    const key = createKey();
    writePrivateKey(path, key.privatePem);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(publicKeyOf(readPrivateKey(path))).toBe(key.publicKey);
    expect(() => writePrivateKey(path, key.privatePem)).toThrow(expect.objectContaining({ code: 'key-exists' }));
  });

  it.each([
    ['open to others', createKey().privatePem, 0o644],
    ['no key', 'hello', 0o600],
  ])('are refused when %s', (name, text, mode) => {
    const path = join(folder, `${name}.pem`);
    writeFileSync(path, text, { mode });
    expect(() => readPrivateKey(path)).toThrow(expect.objectContaining({ code: 'key-invalid' }));
  });

  it('are refused when there is no file', () => {
    expect(() => readPrivateKey(join(folder, 'absent.pem'))).toThrow(expect.objectContaining({ code: 'key-invalid' }));
  });
});

describe('the policy pack', () => {
  const source = readFileSync(new URL('../../policies/my-cma1998.yaml', import.meta.url), 'utf8');

  it('has nine categories, titles in four languages and help in each', () => {
    expect(pack.categories).toHaveLength(9);
    for (const { title } of [...pack.categories, ...pack.tags]) {
      expect(Object.keys(title).sort()).toEqual(['en', 'ms', 'ta', 'zh']);
    }
    expect(Object.keys(pack.help).sort()).toEqual(['en', 'ms', 'ta', 'zh']);
  });

  it('names each protected name once', () => {
    const names = pack.protectedNames.map(({ name }) => name);
    expect(names.filter((name, at) => names.indexOf(name) !== at)).toEqual([]);
  });

  it.each([
    ['version: 1', 'version: one', 'version'],
    ['{ notice: 2, release: 1 }', '{ notice: 2 }', 'thresholds.release'],
    ['categories: [csam, online-scams]', 'categories: [csam, gambling]', 'no category gambling'],
    ['name: gov.my', 'name: GOV.my', 'protectedNames.0.name'],
    ['id: cma-233', 'id: cma-263', 'cma-263 is given twice'],
    ['mediaNames:', 'media:', 'mediaNames'],
  ])('with %s as %s names the key', (from, to, message) => {
    const broken = source.replace(from, to);
    expect(broken).not.toBe(source);
    expect(() => parsePack(broken)).toThrow(expect.objectContaining({ code: 'pack-invalid' }));
    expect(() => parsePack(broken)).toThrow(message);
  });

  it('changes its digest with any byte', () => expect(parsePack(`${source}\n`).sha256).not.toBe(packSha256));
});

describe('authorities.json', () => {
  const { authorities } = enrol();
  const file = JSON.stringify(authorities.file);

  it.each([
    ['another pack', file, '0'.repeat(64), 'policyPack.sha256'],
    ['no JSON', '{', packSha256, 'not JSON'],
    ['an unknown role', file.replace('approving-officer', 'boss'), packSha256, 'authorities.0.officers.0.role'],
    ['a key that is none', file.replace(/"publicKey":"[^"]*"/, '"publicKey":"AAAA"'), packSha256, 'publicKey'],
    ['two officers of one id', file.replace('officer-two', 'officer-one'), packSha256, 'the same id'],
  ])('is refused with %s, naming the key', (_case, text, sha256, message) => {
    expect(() => parseAuthorities(text, sha256)).toThrow(message);
    expect(() => parseAuthorities(text, sha256)).toThrow(expect.objectContaining({ code: 'authorities-invalid' }));
  });
});
