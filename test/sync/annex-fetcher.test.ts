import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { WartaError } from '../../src/base/errors.ts';
import { annexPath } from '../../src/register/annex.ts';
import { AnnexFetcher } from '../../src/sync/annex-fetcher.ts';
import { IncidentBook } from '../../src/sync/incident-book.ts';
import type { Mirror, MirrorAnswer, MirrorRequest } from '../../src/sync/mirror.ts';
import { SqliteNodeStore } from '../../src/sync/node-store.ts';
import type { AnnexWanted } from '../../src/sync/statement-source.ts';
import { FaultyStore } from '../support/faulty-store.ts';
import { makeFolder } from '../support/folders.ts';

/** A mirror in memory: `answer` gives a file, says that there is none, or fails. */
class MemoryMirror implements Mirror {
  receivedBytes = 0;
  readonly requests: MirrorRequest[] = [];
  readonly url: string;
  answer: (path: string) => Promise<string | undefined> | string | undefined;

  constructor(url: string, answer: MemoryMirror['answer']) {
    this.url = url;
    this.answer = answer;
  }

  async get(request: MirrorRequest): Promise<MirrorAnswer> {
    this.requests.push(request);
    const text = await this.answer(request.path);
    return text === undefined
      ? { kind: 'absent', bytes: Buffer.alloc(0) }
      : { kind: 'whole', bytes: Buffer.from(text) };
  }

  async close(): Promise<void> {}
}

const DIGESTS = Array.from({ length: 40 }, (_, i) => i.toString(16).padStart(64, '0'));
const wanted = (digest: string, sealed = false): AnnexWanted => ({ digest, entries: 1, sizeBytes: 100, sealed });

/** What an annex holds here: its own path. */
const honest = (path: string) => path;
const silent = () => {
  throw new WartaError('response-slow', 'silence');
};

let store: FaultyStore;
let full: boolean;
let incidents: IncidentBook;
let verified: string[];

beforeEach(() => {
  full = false;
  store = new FaultyStore(SqliteNodeStore.open(join(makeFolder(), 'register.db')), () => (full ? 'before' : undefined));
  incidents = new IncidentBook();
  verified = [];
});

afterEach(() => store.close());

const verify = ({ digest, sealed }: AnnexWanted, bytes: Uint8Array) => {
  if (String(bytes) !== annexPath(digest, sealed)) throw new WartaError('annex-mismatch', 'it is another');
  verified.push(digest);
};

const open = (...mirrors: Mirror[]) => new AnnexFetcher({ store, mirrors, incidents });
const codes = () => incidents.list().map(({ code, count }) => `${code} ${count}`);

describe('annexes', () => {
  test('are asked for by size, verified and kept', async () => {
    const mirror = new MemoryMirror('a', honest);
    const told: string[] = [];
    const annexes = DIGESTS.map((digest) => wanted(digest));
    await open(mirror).fetch(annexes, verify, 0, (done, total) => told.push(`${done}/${total}`));
    expect(verified.toSorted()).toEqual(DIGESTS);
    expect(DIGESTS.every((digest) => store.hasAnnex(digest))).toBe(true);
    expect(mirror.requests[0]).toEqual({
      path: annexPath(DIGESTS[0]!, false),
      maxBytes: 100,
      authorization: undefined,
    });
    expect([told[0], told.at(-1)]).toEqual(['1/40', '40/40']);
    expect(store.commits).toBe(1);
  });

  test('come from another mirror, which is then asked first', async () => {
    const first = new MemoryMirror('a', silent);
    const second = new MemoryMirror('b', () => 'garbage');
    const third = new MemoryMirror('c', honest);
    const fetcher = open(first, second, third);
    await fetcher.fetch(
      DIGESTS.map((digest) => wanted(digest)),
      verify,
      0,
    );
    expect(verified).toHaveLength(DIGESTS.length);
    // Those under way at first ask in order; no other does.
    expect(first.requests.length).toBeLessThanOrEqual(16);
    expect(third.requests).toHaveLength(DIGESTS.length);
    expect(codes()).toEqual([`response-slow ${first.requests.length}`, `annex-mismatch ${second.requests.length}`]);
  });

  test('that nobody has are asked for again, less and less often', async () => {
    const mirror = new MemoryMirror('a', () => undefined);
    const fetcher = open(mirror);
    const asked: number[] = [];
    for (let seconds = 0; seconds <= 7_200; seconds += 5) {
      const before = mirror.requests.length;
      await fetcher.fetch([wanted(DIGESTS[0]!)], verify, seconds);
      if (mirror.requests.length > before) asked.push(seconds);
    }
    expect(asked.slice(0, 6)).toEqual([0, 5, 15, 35, 75, 155]);
    expect(asked.length).toBeLessThan(22);
    mirror.answer = honest;
    await fetcher.fetch([wanted(DIGESTS[0]!)], verify, 8_000);
    expect(verified).toEqual([DIGESTS[0]]);
  });

  test('that failed by too small a size are asked for at once by a larger one', async () => {
    const mirror = new MemoryMirror('a', () => undefined);
    const fetcher = open(mirror);
    const smaller = { ...wanted(DIGESTS[0]!), sizeBytes: 10 };
    await fetcher.fetch([smaller], verify, 0);
    mirror.answer = honest;
    await fetcher.fetch([smaller], verify, 0);
    expect(verified).toEqual([]);
    await fetcher.fetch([wanted(DIGESTS[0]!)], verify, 0);
    expect(verified).toEqual([DIGESTS[0]]);
    expect(mirror.requests.map(({ maxBytes }) => maxBytes)).toEqual([10, 100]);
  });

  test('that are slow do not keep the others waiting, and arrive later', async () => {
    let release = () => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    const slow = annexPath(DIGESTS[3]!, false);
    const mirror = new MemoryMirror('a', async (path) => {
      if (path === slow) await held;
      return path;
    });
    const fetcher = open(mirror);
    const annexes = DIGESTS.slice(0, 6).map((digest) => wanted(digest));
    await fetcher.fetch(annexes, verify, 0, undefined, 20);
    expect(verified.toSorted()).toEqual(DIGESTS.slice(0, 6).filter((digest) => digest !== DIGESTS[3]));
    await fetcher.fetch([wanted(DIGESTS[3]!)], verify, 10, undefined, 20);
    expect(mirror.requests.filter(({ path }) => path === slow)).toHaveLength(1);
    release();
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(verified).toContain(DIGESTS[3]);
    expect(store.hasAnnex(DIGESTS[3]!)).toBe(true);
    expect(codes()).toEqual([]);
  });

  test('that cannot be stored count all the same, and are stored when they can be', async () => {
    const fetcher = open(new MemoryMirror('a', honest));
    full = true;
    const both = [wanted(DIGESTS[0]!), wanted(DIGESTS[1]!)];
    await expect(fetcher.fetch(both, verify, 0)).rejects.toMatchObject({ code: 'store-failed' });
    expect(verified.toSorted()).toEqual(DIGESTS.slice(0, 2));
    expect(() => fetcher.save()).toThrowError(expect.objectContaining({ code: 'store-failed' }));
    full = false;
    fetcher.save();
    expect([store.hasAnnex(DIGESTS[0]!), store.hasAnnex(DIGESTS[1]!)]).toEqual([true, true]);
  });

  test('that are sealed come from one server, with a credential for that path', async () => {
    const mirror = new MemoryMirror('a', honest);
    const server = new MemoryMirror('sealed', honest);
    const authorize = async (path: string) => `Bearer for ${path}`;
    const fetcher = new AnnexFetcher({ store, mirrors: [mirror], incidents, sealed: { mirror: server, authorize } });
    await fetcher.fetch([wanted(DIGESTS[0]!, true), wanted(DIGESTS[1]!)], verify, 0);
    const path = annexPath(DIGESTS[0]!, true);
    expect(path).toBe(`sealed/00/${DIGESTS[0]}.jsonl`);
    expect(server.requests).toEqual([{ path, maxBytes: 100, authorization: `Bearer for ${path}` }]);
    expect(mirror.requests.map((request) => request.authorization)).toEqual([undefined]);
  });

  test('that are sealed are asked of nobody without such a server', async () => {
    const mirror = new MemoryMirror('a', honest);
    await open(mirror).fetch(
      DIGESTS.map((digest) => wanted(digest, true)),
      verify,
      0,
    );
    expect(mirror.requests).toEqual([]);
    expect(codes()).toEqual(['annex-missing 40']);
    expect(incidents.list()[0]!.reason).not.toContain(DIGESTS[0]);
  });
});
