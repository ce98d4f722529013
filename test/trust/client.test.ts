import { existsSync, readdirSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { WartaError } from '../../src/base/errors.ts';
import { loadTrust } from '../../src/trust/client.ts';
import { publishAuthorities, refreshTimestamp, rotateTrust } from '../../src/trust/repository.ts';
import { collectTree, readFrom } from '../../src/trust/served-tree.ts';
import { allOf, DAY, forge, makeKeys, NOW, seededKey, THRESHOLDS, TrustFixture } from './fixture.ts';

let repository: TrustFixture;
beforeEach(() => {
  repository = new TrustFixture();
});
afterEach(() => repository.clear());

const KEPT = ['1.root.json', 'authorities.json', 'snapshot.json', 'targets.json', 'timestamp.json'];

describe('refreshTrust', () => {
  it('reads the authorities from nothing but the pinned root', async () => {
    const reading = await repository.refresh();
    expect(reading.authorities).toBe('{"text":1}');
    expect(reading.versions).toEqual({ root: 1, targets: 1, snapshot: 1, timestamp: 1 });
    expect(reading.expires).toEqual({
      root: NOW + 365 * DAY,
      targets: NOW + 180 * DAY,
      snapshot: NOW + 30 * DAY,
      timestamp: NOW + 7 * DAY,
    });
    expect(reading.expiresSeconds).toBe(NOW + 7 * DAY);
    expect([...reading.files.keys()].toSorted()).toEqual(KEPT);
  });

  it('asks for nothing that it holds already', async () => {
    await repository.refresh();
    expect(repository.asked.length).toBe(5);
    const again = await repository.refresh();
    expect(repository.asked).toEqual(['2.root.json', 'timestamp.json']);
    expect(again.authorities).toBe('{"text":1}');
  });

  it('fetches a new timestamp alone when only that is new', async () => {
    await repository.refresh();
    refreshTimestamp({ ...repository.at(NOW + DAY), keys: repository.keys });
    const reading = await repository.refresh({ nowSeconds: NOW + DAY });
    expect(repository.asked).toEqual(['2.root.json', 'timestamp.json']);
    expect(reading.versions).toEqual({ root: 1, targets: 1, snapshot: 1, timestamp: 2 });
    expect(reading.expiresSeconds).toBe(NOW + 8 * DAY);
  });

  it('takes changed authorities', async () => {
    await repository.refresh();
    publishAuthorities({ ...repository.at(), keys: repository.keys, authorities: '{"text":2}' });
    const reading = await repository.refresh();
    expect(reading.authorities).toBe('{"text":2}');
    expect(reading.versions).toEqual({ root: 1, targets: 2, snapshot: 2, timestamp: 2 });
  });

  it('does not fetch a text again that new targets name as the old ones did', async () => {
    await repository.refresh();
    publishAuthorities({ ...repository.at(), keys: repository.keys, authorities: '{"text":1}' });
    const reading = await repository.refresh();
    expect(reading.versions.targets).toBe(2);
    expect(repository.asked.filter((path) => path.startsWith('targets/'))).toEqual([]);
  });

  it('follows many roots at once and keeps each', async () => {
    const rotate = (from: string, to: string) => {
      const [old, next] = [makeKeys(from), makeKeys(to)];
      const signers = [...allOf(old), ...allOf(next)];
      rotateTrust({ ...repository.at(), keys: next, thresholds: THRESHOLDS, signers });
    };
    rotate('first', 'second');
    rotate('second', 'third');
    rotate('third', 'fourth');
    const reading = await repository.refresh();
    expect(reading.versions.root).toBe(4);
    expect([...reading.files.keys()].filter((name) => name.endsWith('root.json'))).toEqual(
      [1, 2, 3, 4].map((version) => `${version}.root.json`),
    );
  });

  it('leaves nothing in its scratch folder, whether it succeeds or fails, and makes that folder when it is missing', async () => {
    expect(existsSync(repository.scratch)).toBe(false);
    await repository.refresh();
    expect(readdirSync(repository.scratch)).toEqual([]);
    await repository.refuse({ nowSeconds: NOW + 10 * DAY });
    expect(readdirSync(repository.scratch)).toEqual([]);
  });

  const TREE = ['2.root.json', 'timestamp.json', '1.snapshot.json', '1.targets.json', 'authorities.json'];
  it.each(TREE)('passes on what the transport throws at %s as it is', async (path) => {
    const failure = new WartaError('response-slow', 'too slow');
    const fetch = async (asked: string) => {
      if (asked.endsWith(path)) throw failure;
      return repository.read(asked);
    };
    await expect(repository.refresh({ fetch })).rejects.toBe(failure);
  });

  it.each(TREE.slice(1))('says that the mirror has no %s', async (path) => {
    const fetch = async (asked: string) => (asked.endsWith(path) ? undefined : repository.read(asked));
    const { code, message } = await repository.refuse({ fetch });
    expect(code).toBe('mirror-failed');
    expect(message).toContain(path);
  });

  it('judges expiry by the time it is given, not by the clock of the machine', async () => {
    const early = await repository.refresh({ nowSeconds: NOW + 7 * DAY - 1 });
    expect(early.versions.timestamp).toBe(1);
    expect(await repository.refuse({ nowSeconds: NOW + 7 * DAY })).toMatchObject({ code: 'trust-expired' });
  });

  it('hands over a verified root even if the refresh fails after it, so that no mirror can hide it again', async () => {
    await repository.refresh();
    const next = makeKeys('second');
    const signers = [...allOf(repository.keys), ...allOf(next)];
    rotateTrust({ ...repository.at(), keys: next, thresholds: THRESHOLDS, signers });
    const roots = new Map<string, Buffer>();
    const onRoot = (name: string, bytes: Buffer) => void roots.set(name, bytes);
    const fetch = async (path: string) => (path === 'timestamp.json' ? undefined : repository.read(path));
    await repository.refuse({ fetch, onRoot });
    expect([...roots.keys()]).toEqual(['2.root.json']);
    for (const [name, bytes] of roots) repository.files.set(name, bytes);
    // What was kept under root 1 still loads, and a mirror that hides root 2 can no longer use the keys of root 1.
    expect(loadTrust(repository)).toMatchObject({ authorities: '{"text":1}', versions: { root: 2, timestamp: 1 } });
    const old = forge(repository.files.get('timestamp.json'), [repository.keys.timestamp], { version: 9 });
    const hidden = async (path: string) => (path === 'timestamp.json' ? old : undefined);
    expect(await repository.refuse({ fetch: hidden })).toMatchObject({ code: 'trust-invalid' });
    const reading = await repository.refresh({ onRoot: () => expect.unreachable('the root is known') });
    expect(reading.versions).toMatchObject({ root: 2, timestamp: 2 });
  });

  it('does not hand over a root that is not valid', async () => {
    repository.serve('2.root.json', forge(repository.pinnedRoot, [seededKey('stranger')], { version: 2 }));
    const onRoot = () => expect.unreachable('it is no root');
    expect(await repository.refuse({ onRoot })).toMatchObject({ code: 'trust-invalid' });
  });
});

describe('loadTrust', () => {
  it('reads offline what was kept, expired or not', async () => {
    const reading = await repository.refresh();
    repository.restoreTree(new Map());
    expect(loadTrust(repository)).toEqual(reading);
    // Ten years on the answer is the same: the caller sees `expiresSeconds`.
    expect(loadTrust(repository).expiresSeconds).toBe(NOW + 7 * DAY);
  });

  it('reads a served tree', async () => {
    const reading = await repository.refresh();
    const files = collectTree(readFrom(repository.tree));
    expect(loadTrust({ pinnedRoot: repository.pinnedRoot, files })).toEqual(reading);
  });

  it.each(KEPT.slice(1))('refuses without %s', async (name) => {
    await repository.refresh();
    repository.files.delete(name);
    expect(() => loadTrust(repository)).toThrow(expect.objectContaining({ code: 'trust-invalid' }));
  });

  it.each(KEPT.slice(1))('refuses %s with one byte changed', async (name) => {
    const reading = await repository.refresh();
    const whole = reading.files.get(name)!;
    const accepted: number[] = [];
    for (let at = 0; at < whole.length; at += 7) {
      const bytes = Buffer.from(whole);
      bytes[at] ^= 0x04;
      try {
        loadTrust({ pinnedRoot: repository.pinnedRoot, files: new Map(repository.files).set(name, bytes) });
        accepted.push(at);
      } catch (error) {
        expect(error).toMatchObject({ code: 'trust-invalid' });
      }
    }
    // Of the timestamp, which nothing hashes, a byte outside of signed content and signatures is free; none means anything.
    if (name === 'timestamp.json') expect(accepted.length).toBeLessThan(8);
    else expect(accepted).toEqual([]);
  });

  it('takes the pinned root, whatever is kept as 1.root.json', async () => {
    await repository.refresh();
    repository.files.set('1.root.json', Buffer.from('{}'));
    expect(loadTrust(repository).files.get('1.root.json')).toEqual(repository.pinnedRoot);
  });

  it('refuses files that were kept under another pinned root', async () => {
    await repository.refresh();
    const other = new TrustFixture({ keySet: 'other' });
    const { pinnedRoot } = other;
    other.clear();
    expect(() => loadTrust({ pinnedRoot, files: repository.files })).toThrow(/below the threshold of root 1/);
  });

  it('refuses a pinned root that its own keys have not signed enough', async () => {
    await repository.refresh();
    const pinnedRoot = forge(repository.pinnedRoot, repository.keys.root.slice(1, 2));
    expect(() => loadTrust({ pinnedRoot, files: repository.files })).toThrow(/root was signed by 1\/2/);
    await expect(repository.refresh({ pinnedRoot })).rejects.toThrow(/root was signed by 1\/2/);
  });

  it('refuses a pinned root that is no root', () => {
    for (const pinnedRoot of [Buffer.from('{}'), Buffer.alloc(0), repository.read('timestamp.json')!]) {
      expect(() => loadTrust({ pinnedRoot, files: new Map() })).toThrow(
        expect.objectContaining({ code: 'trust-invalid' }),
      );
    }
  });
});
