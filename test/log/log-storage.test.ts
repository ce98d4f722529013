import { mkdirSync, readdirSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import S3rver from 's3rver';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DirectoryStorage } from '../../src/log/directory-storage.ts';
import type { LogStorage } from '../../src/log/log-storage.ts';
import { createS3Client, S3Storage } from '../../src/log/s3-storage.ts';
import { Sequencer } from '../../src/log/sequencer.ts';
import { makeFolder } from '../support/folders.ts';
import { ConditionalS3 } from './conditional-s3.ts';
import { MemoryStorage } from './memory-storage.ts';
import { appendText, makeOptions, readLog } from './test-log.ts';

const credentials = { accessKeyId: 'S3RVER', secretAccessKey: 'S3RVER' };
const own = new ConditionalS3();
let ownUrl: string;
let s3rver: S3rver;
let s3rverUrl: string;
let prefixes = 0;

beforeAll(async () => {
  ownUrl = await own.start();
  const settings = { port: 0, address: '127.0.0.1', silent: true, directory: makeFolder() };
  s3rver = new S3rver({ ...settings, configureBuckets: [{ name: 'bucket' }] });
  s3rverUrl = `http://127.0.0.1:${(await s3rver.run()).port}`;
});

afterAll(async () => {
  await own.close();
  await s3rver.close();
});

/** A storage on a server, empty. */
function onServer(endpoint: string, conditionalWrites: boolean, accessKeys = credentials): S3Storage {
  const client = createS3Client({ endpoint, region: 'eu-central-1', credentials: accessKeys });
  return new S3Storage({ client, bucket: 'bucket', prefix: `log${++prefixes}/`, conditionalWrites });
}

const KINDS: [string, () => LogStorage][] = [
  ['a folder', () => new DirectoryStorage(makeFolder())],
  ['s3rver, a real S3 server (it knows no conditions)', () => onServer(s3rverUrl, false)],
  ["the tests' own S3 server with conditional writes", () => onServer(ownUrl, true)],
  ["the tests' stand-in in memory", () => new MemoryStorage()],
];

const bytes = (text: string) => Buffer.from(text);
const textOf = (found: Uint8Array | undefined) => found && Buffer.from(found).toString();

describe.each(KINDS)('a log storage: %s', (_, make) => {
  it('reads back what it was given, and nothing where nothing is', async () => {
    const storage = make();
    const binary = Buffer.from(Array.from({ length: 70_000 }, (_, at) => (at * 7) % 256));
    await storage.create('tile/0/x001/234', binary);
    await storage.create('tile/0/x001/234.p/7', bytes(''));
    expect(Buffer.compare((await storage.read('tile/0/x001/234'))!, binary)).toBe(0);
    expect(textOf(await storage.read('tile/0/x001/234.p/7'))).toBe('');
    expect(await storage.read('tile/0/x001/235')).toBeUndefined();
    expect(await storage.read('nothing/here')).toBeUndefined();
  });

  it('creates a file once: the same again is fine, another is refused', async () => {
    const storage = make();
    await storage.create('a/b', bytes('one'));
    await storage.create('a/b', bytes('one'));
    await expect(storage.create('a/b', bytes('two'))).rejects.toMatchObject({ code: 'log-invalid' });
    await expect(storage.create('a/b', bytes('on'))).rejects.toMatchObject({ code: 'log-invalid' });
    expect(textOf(await storage.read('a/b'))).toBe('one');
  });

  it('replaces what is as expected, and nothing else', async () => {
    const storage = make();
    await storage.replace('head', bytes('one'), undefined);
    await expect(storage.replace('head', bytes('two'), undefined)).rejects.toMatchObject({ code: 'log-busy' });
    await storage.replace('head', bytes('two'), bytes('one'));
    await expect(storage.replace('head', bytes('three'), bytes('one'))).rejects.toMatchObject({ code: 'log-busy' });
    await expect(storage.replace('new', bytes('one'), bytes('zero'))).rejects.toMatchObject({ code: 'log-busy' });
    expect(textOf(await storage.read('head'))).toBe('two');
    expect(await storage.read('new')).toBeUndefined();
  });

  it('removes a file, or all below a path, and minds nothing that is not there', async () => {
    const storage = make();
    for (const path of ['t/000', 't/000.p/1', 't/000.p/2', 't/000.p/x/3', 't/000.pq']) {
      await storage.create(path, bytes(path));
    }
    await storage.remove('t/000.p/');
    await storage.remove('t/000.p/');
    await storage.remove('t/none');
    expect(await storage.read('t/000.p/1')).toBeUndefined();
    expect(await storage.read('t/000.p/x/3')).toBeUndefined();
    expect(textOf(await storage.read('t/000'))).toBe('t/000');
    expect(textOf(await storage.read('t/000.pq'))).toBe('t/000.pq');
    await storage.remove('t/000');
    expect(await storage.read('t/000')).toBeUndefined();
  });

  it.each(['', '/', '/etc/passwd', '../up', 'a/../../up', 'a//b', '.hidden', 'a/.b', 'a\\b', 'a\0b', 'a b', 'ä'])(
    'refuses the path %j',
    async (path) => {
      const storage = make();
      const refused = { code: 'store-failed' };
      await expect(storage.read(path)).rejects.toMatchObject(refused);
      await expect(storage.create(path, bytes('x'))).rejects.toMatchObject(refused);
      await expect(storage.replace(path, bytes('x'), undefined)).rejects.toMatchObject(refused);
      await expect(storage.remove(path)).rejects.toMatchObject(refused);
    },
  );

  it('carries a sequencer with both its public tree and its private state', async () => {
    const options = await makeOptions({ storage: make(), state: make() });
    for (const group of [1, 300, 280]) {
      const sequencer = await Sequencer.open(options);
      await Promise.all(Array.from({ length: group }, (_, at) => appendText(sequencer, `${group} ${at}`)));
      await sequencer.flush();
      await sequencer.close();
    }
    expect(await readLog(options.storage)).toMatchObject({ witnessed: true, checkpoint: { size: 581 } });
  }, 120_000);
});

describe('a folder', () => {
  it('is locked against a second holder until the first lets go', async () => {
    const folder = join(makeFolder(), 'made/on/demand');
    const unlock = await new DirectoryStorage(folder).lock();
    await expect(new DirectoryStorage(folder).lock()).rejects.toMatchObject({ code: 'log-busy' });
    unlock();
    (await new DirectoryStorage(folder).lock())();
  });

  it('keeps private files from others', async () => {
    const folder = makeFolder();
    await new DirectoryStorage(folder, { isPrivate: true }).create('secret', bytes('x'));
    await new DirectoryStorage(folder).create('open', bytes('x'));
    expect(statSync(join(folder, 'secret')).mode & 0o077).toBe(0);
    expect(statSync(join(folder, 'open')).mode & 0o044).toBe(0o044);
  });

  it('says so when it cannot be read or written', async () => {
    const folder = makeFolder();
    writeFileSync(join(folder, 'file'), '');
    const storage = new DirectoryStorage(join(folder, 'file'));
    await expect(storage.create('a', bytes('x'))).rejects.toMatchObject({ code: 'store-failed' });
    await expect(storage.lock()).rejects.toMatchObject({ code: 'store-failed' });
    mkdirSync(join(folder, 'loop'));
    symlinkSync('loop', join(folder, 'loop/loop'));
    symlinkSync('self', join(folder, 'self'));
    await expect(new DirectoryStorage(folder).read('self')).rejects.toMatchObject({ code: 'store-failed' });
  });

  it('is not misled by what a write that was cut off left beside a file', async () => {
    const folder = makeFolder();
    const storage = new DirectoryStorage(folder);
    writeFileSync(join(folder, 'a.staged'), 'half a fi');
    expect(await storage.read('a')).toBeUndefined();
    await storage.create('a', bytes('whole'));
    expect(textOf(await storage.read('a'))).toBe('whole');
    expect(readdirSync(folder)).toEqual(['a']);
    rmSync(folder, { recursive: true });
  });
});

describe('an S3 store', () => {
  it('gives its access key, and s3rver lets no other in', async () => {
    await expect(onServer(s3rverUrl, false).create('a', bytes('x'))).resolves.toBeUndefined();
    const wrong = onServer(s3rverUrl, false, { accessKeyId: 'STRANGER', secretAccessKey: 'S3RVER' });
    await expect(wrong.create('a', bytes('x'))).rejects.toMatchObject({ code: 'store-failed' });
    await expect(wrong.read('a')).rejects.toMatchObject({ code: 'store-failed' });
  });

  it('says what a file is and how long it may be kept (C2SP tlog-tiles)', async () => {
    const storage = onServer(ownUrl, true);
    await storage.create('tile/0/000', bytes('x'));
    await storage.create('annex/ab/cd.jsonl', bytes('x'));
    await storage.replace('checkpoint', bytes('x'), undefined);
    const typeOf = (path: string) => own.contentTypes.get(`log${prefixes}/${path}`);
    expect(typeOf('tile/0/000')).toBe('application/octet-stream; public, max-age=31536000, immutable');
    expect(typeOf('annex/ab/cd.jsonl')).toBe('application/json; public, max-age=31536000, immutable');
    expect(typeOf('checkpoint')).toBe('text/plain; charset=utf-8; no-cache');
  });

  it('makes every write depend on what is there', async () => {
    const storage = onServer(ownUrl, true);
    own.requests.length = 0;
    await storage.create('a', bytes('x'));
    await storage.replace('b', bytes('x'), undefined);
    await storage.replace('b', bytes('y'), bytes('x'));
    const writes = own.requests.filter(({ method }) => method === 'PUT').map(({ headers }) => headers);
    expect(writes.map((headers) => headers['if-none-match'] ?? headers['if-match'])).toEqual([
      '*',
      '*',
      '"9dd4e461268c8034f5c8564e155c67a6"',
    ]);
  });

  it('lets one of two win that change a file at the same time', async () => {
    const storage = onServer(ownUrl, true);
    await storage.replace('head', bytes('zero'), undefined);
    const writes = ['one', 'two'].map((text) => storage.replace('head', bytes(text), bytes('zero')));
    const results = await Promise.allSettled(writes);
    const lost = results.find((result) => result.status === 'rejected');
    expect(lost).toMatchObject({ reason: { code: 'log-busy' } });
    const won = results.findIndex((result) => result.status === 'fulfilled');
    expect(textOf(await storage.read('head'))).toBe(['one', 'two'][won]);
  });

  it('knows its own write again whose answer was lost', async () => {
    const storage = onServer(ownUrl, true);
    await storage.replace('head', bytes('zero'), undefined);
    let dropped = 0;
    own.intercept = ({ method }, obey) => {
      if (method !== 'PUT' || dropped++ > 0) return undefined;
      obey();
      return 'drop';
    };
    await storage.replace('head', bytes('one'), bytes('zero'));
    dropped = 0;
    await storage.create('tile/0/000', bytes('tile'));
    expect(dropped).toBeGreaterThan(1); // the client sent it again, and found it done
    own.intercept = () => undefined;
    expect(textOf(await storage.read('head'))).toBe('one');
    expect(textOf(await storage.read('tile/0/000'))).toBe('tile');
  });

  it('fails when the server does', async () => {
    const storage = onServer(ownUrl, true);
    own.intercept = () => 500;
    await expect(storage.read('a')).rejects.toMatchObject({ code: 'store-failed' });
    await expect(storage.create('a', bytes('x'))).rejects.toMatchObject({ code: 'store-failed' });
    await expect(storage.replace('a', bytes('x'), undefined)).rejects.toMatchObject({ code: 'store-failed' });
    await expect(storage.remove('a')).rejects.toMatchObject({ code: 'store-failed' });
    await expect(storage.remove('a/')).rejects.toMatchObject({ code: 'store-failed' });
    own.intercept = () => undefined;
  });

  it('takes a missing bucket for a fault, not for a missing file', async () => {
    const client = createS3Client({ endpoint: s3rverUrl, region: 'eu-central-1', credentials });
    const storage = new S3Storage({ client, bucket: 'no-such-bucket', conditionalWrites: false });
    await expect(storage.read('a')).rejects.toMatchObject({ code: 'store-failed' });
  });

  it('that ignores conditions is found out before a log is opened on it', async () => {
    const storage = onServer(ownUrl, true);
    (await storage.lock())();
    own.isOld = true;
    await expect(storage.lock()).rejects.toMatchObject({ code: 'store-failed' });
    own.isOld = false;
    (await storage.lock())();
    await expect(onServer(s3rverUrl, true).lock()).rejects.toMatchObject({ code: 'store-failed' });
  });

  it('keeps two sequencers apart: the older one is told that the log is busy', async () => {
    const [storage, state] = [onServer(ownUrl, true), onServer(ownUrl, true)];
    const options = await makeOptions({ storage, state });
    const older = await Sequencer.open(options);
    await appendText(older, 'a');
    await older.flush();
    const newer = await Sequencer.open(options);
    await expect(appendText(older, 'lost')).rejects.toMatchObject({ code: 'log-busy' });
    await appendText(newer, 'b');
    await newer.flush();
    expect((await readLog(storage))!.leaves.map(String)).toEqual(['a', 'b']);
    await older.close();
    await newer.close();
  });
});
