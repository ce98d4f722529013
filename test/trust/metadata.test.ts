import { createPublicKey, hash } from 'node:crypto';
import { canonicalize } from '@tufjs/canonical-json';
import { beforeAll, describe, expect, it } from 'vitest';
import { MAX_BYTES, parseMetadata, TRUST_ROLES, type TrustRole } from '../../src/trust/metadata.ts';
import { keyIdOf, trustKeyOf } from '../../src/trust/trust-key.ts';
import { forge, seededKey, TrustFixture } from './fixture.ts';

let files: Record<TrustRole, Buffer>;
beforeAll(() => {
  const repository = new TrustFixture();
  const [root, targets, snapshot] = ['root', 'targets', 'snapshot'].map((role) => repository.read(`1.${role}.json`)!);
  files = { root, targets, snapshot, timestamp: repository.read('timestamp.json')! };
  repository.clear();
});

describe('keyIdOf', () => {
  it('is the hash of the canonical key', () => {
    const key = trustKeyOf(seededKey('any'));
    const text = `{"keytype":"ed25519","keyval":{"public":"${key.keyVal.public}"},"scheme":"ed25519"}`;
    expect(canonicalize(key.toJSON())).toBe(text);
    expect(key.keyID).toBe(hash('sha256', text, 'hex'));
    expect(keyIdOf(key)).toBe(key.keyID);
  });

  it('is one for a private key and its public half', () => {
    const privateKey = seededKey('any');
    expect(trustKeyOf(createPublicKey(privateKey)).keyID).toBe(trustKeyOf(privateKey).keyID);
    expect(trustKeyOf(seededKey('other')).keyID).not.toBe(trustKeyOf(privateKey).keyID);
  });
});

describe('parseMetadata', () => {
  it.each(TRUST_ROLES)('reads %s as published', (role) => {
    expect(parseMetadata(role, files[role]).signed.version).toBe(1);
  });

  it('ignores fields it does not know, as TUF asks of a client', () => {
    for (const role of TRUST_ROLES) parseMetadata(role, forge(files[role], [], { x_later: { any: [1] } }));
  });

  it.each(
    TRUST_ROLES.flatMap((role) => TRUST_ROLES.filter((other) => other !== role).map((other) => [role, other] as const)),
  )('does not take %s for %s', (role, other) => {
    expect(() => parseMetadata(other, files[role])).toThrow(expect.objectContaining({ code: 'trust-invalid' }));
  });

  const id = '0'.repeat(64);
  const other = trustKeyOf(seededKey('unlisted'));
  const holders = { keyids: [id], threshold: 1 };
  it.each<[TrustRole, string, Parameters<typeof forge>[2]]>([
    ['root', 'an upper-case public key', ({ keys }) => ({ keys: mapFirst(keys, upperCasePublic) })],
    ['root', 'a key of another type', ({ keys }) => ({ keys: mapFirst(keys, (key) => ({ ...key, keytype: 'rsa' })) })],
    ['root', 'a key of another scheme', ({ keys }) => ({ keys: mapFirst(keys, (key) => ({ ...key, scheme: 'x' })) })],
    ['root', 'a key under a false id', ({ keys }) => ({ keys: { ...keys, [id]: other.toJSON() } })],
    ['root', 'a role with an unknown key', ({ roles }) => ({ roles: { ...roles, targets: holders } })],
    ['root', 'a threshold above the count of keys', ({ roles }) => ({ roles: withThreshold(roles, 9) })],
    ['root', 'a threshold of nought', ({ roles }) => ({ roles: withThreshold(roles, 0) })],
    ['root', 'a threshold below nought', ({ roles }) => ({ roles: withThreshold(roles, -1) })],
    ['root', 'a threshold that is no whole number', ({ roles }) => ({ roles: withThreshold(roles, '2') })],
    ['root', 'a role more', ({ roles }) => ({ roles: { ...roles, mirrors: roles.root } })],
    ['root', 'a role with a number for a name', ({ roles }) => ({ roles: { ...roles, 1: roles.root } })],
    ['root', 'a role fewer', ({ roles: { targets: _gone, ...roles } }) => ({ roles })],
    ['root', 'files without versions', () => ({ consistent_snapshot: false })],
    [
      'targets',
      'a length below nought',
      ({ targets }) => ({ targets: mapFirst(targets, (file) => ({ ...file, length: -1 })) }),
    ],
    [
      'targets',
      'a hash that is none',
      ({ targets }) => ({ targets: mapFirst(targets, (file) => ({ ...file, hashes: {} })) }),
    ],
    ['targets', 'a weak hash', ({ targets }) => ({ targets: mapFirst(targets, withMd5) })],
    ['snapshot', 'no length', ({ meta }) => ({ meta: mapFirst(meta, ({ length: _gone, ...file }) => file) })],
    ['snapshot', 'no hash', ({ meta }) => ({ meta: mapFirst(meta, ({ hashes: _gone, ...file }) => file) })],
    ['snapshot', 'no version', ({ meta }) => ({ meta: mapFirst(meta, ({ version: _gone, ...file }) => file) })],
    ['timestamp', 'no length', ({ meta }) => ({ meta: mapFirst(meta, ({ length: _gone, ...file }) => file) })],
    ['timestamp', 'no hash', ({ meta }) => ({ meta: mapFirst(meta, ({ hashes: _gone, ...file }) => file) })],
    ['timestamp', 'nothing named', () => ({ meta: {} })],
    ...TRUST_ROLES.flatMap((role): [TrustRole, string, object][] => [
      [role, 'a version of nought', { version: 0 }],
      [role, 'a version beyond what is counted exactly', { version: 2 ** 53 }],
      [role, 'a version in text', { version: '1' }],
      [role, 'a time without a zone', { expires: '2027-01-01T00:00:00' }],
      [role, 'a day that does not exist', { expires: '2027-13-01T00:00:00Z' }],
      [role, 'another major version of TUF', { spec_version: '2.0.0' }],
    ]),
  ])('refuses %s with %s', (role, _what, edit) => {
    const value = JSON.parse(files[role].toString());
    Object.assign(value.signed, typeof edit === 'function' ? edit(value.signed) : edit);
    const bytes = Buffer.from(JSON.stringify(value));
    expect(() => parseMetadata(role, bytes)).toThrow(expect.objectContaining({ code: 'trust-invalid' }));
  });

  it.each(TRUST_ROLES)('refuses %s with two signatures under one key id', (role) => {
    const value = JSON.parse(files[role].toString());
    value.signatures.push(value.signatures[0]);
    expect(() => parseMetadata(role, Buffer.from(JSON.stringify(value)))).toThrow(/multiple signatures/);
  });

  it.each(TRUST_ROLES)('refuses %s that is not UTF-8, though JSON could be made of it', (role) => {
    const [before, after] = forge(files[role], [], { note: 'HERE' }).toString().split('HERE');
    const withNote = (note: Buffer) => Buffer.concat([Buffer.from(before), note, Buffer.from(after)]);
    expect(parseMetadata(role, withNote(Buffer.from('é'))).signed.version).toBe(1);
    expect(() => parseMetadata(role, withNote(Buffer.from([0xe9])))).toThrow(/UTF-8/);
  });

  it.each(TRUST_ROLES)('bounds %s before anything else', (role) => {
    const padded = (size: number) => Buffer.concat([files[role], Buffer.alloc(size - files[role].length, ' ')]);
    expect(parseMetadata(role, padded(MAX_BYTES[role])).signed.version).toBe(1);
    expect(() => parseMetadata(role, padded(MAX_BYTES[role] + 1))).toThrow(/at most/);
  });
});

// biome-ignore lint/suspicious/noExplicitAny: metadata that is wrong has no type
type Json = Record<string, any>;

function mapFirst(entries: Json, map: (value: Json) => Json): Json {
  const [first] = Object.keys(entries);
  return { ...entries, [first]: map(entries[first]) };
}

function upperCasePublic(key: Json): Json {
  return { ...key, keyval: { public: key.keyval.public.toUpperCase() } };
}

function withMd5(file: Json): Json {
  return { ...file, hashes: { ...file.hashes, md5: '0'.repeat(32) } };
}

function withThreshold(roles: Json, threshold: unknown): Json {
  return { ...roles, targets: { ...roles.targets, threshold } };
}
