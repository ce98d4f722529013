import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { type LogEvent, LogSite } from '../../../src/control/publishing/log-site.ts';
import { readLogStatus } from '../../../src/control/publishing/log-status.ts';
import { annexPath } from '../../../src/register/annex.ts';
import { writePrivateKey } from '../../../src/register/key.ts';
import { loadTrust } from '../../../src/trust/client.ts';
import { collectTree, readFrom } from '../../../src/trust/served-tree.ts';
import { FakeClock } from '../../base/fake-clock.ts';
import { ConditionalS3 } from '../../log/conditional-s3.ts';
import { makeFolder } from '../../support/folders.ts';
import { LogRegister } from '../../support/log-register.ts';

const DAY_MILLIS = 86_400_000;

let clock: FakeClock;
let register: LogRegister;
beforeEach(async () => {
  clock = new FakeClock();
  register = await LogRegister.create(makeFolder(), { clock, witnesses: 3, quorum: 2 });
  await register.site.close();
});
afterEach(async () => {
  await Promise.all(register.witnesses.map((witness) => witness.close()));
});

/** Opens the log of the test with a change to its configuration. */
function open(changes: Partial<LogRegister['config']>, onEvent?: (event: LogEvent) => void): Promise<LogSite> {
  return LogSite.open({ ...register.config, ...changes }, { clock, witnesses: register.witnesses, onEvent });
}

/** Puts TUF's online keys where the log finds them. */
function writeOnlineKeys() {
  const onlineKeys = {
    timestamp: join(register.folder, 'timestamp.key'),
    snapshot: join(register.folder, 'snapshot.key'),
  };
  for (const role of ['timestamp', 'snapshot'] as const) {
    const pem = register.trustKeys[role].export({ type: 'pkcs8', format: 'pem' });
    writePrivateKey(onlineKeys[role], pem.toString());
  }
  return onlineKeys;
}

const readTrust = () => {
  const files = collectTree(readFrom(join(register.publicFolder, 'trust')));
  return loadTrust({ pinnedRoot: readFileSync(register.rootFile), files });
};

describe('the TUF timestamp', () => {
  it('is signed anew in time by a log that has its key, and so never lapses', async () => {
    const site = await open({ onlineKeys: writeOnlineKeys() });
    const before = readTrust().versions.timestamp;
    for (let day = 0; day < 60; day++) {
      await site.doChores();
      const { expiresSeconds } = readTrust();
      expect(expiresSeconds - clock.wall / 1000).toBeGreaterThanOrEqual(6 * 86_400);
      clock.pass(DAY_MILLIS);
    }
    const signed = readTrust().versions.timestamp - before;
    expect(signed).toBeGreaterThan(20);
    expect(signed).toBeLessThan(60);
    await site.close();
  });

  it('is left to others by a log that has not', async () => {
    const site = await open({});
    clock.pass(6 * DAY_MILLIS);
    await site.doChores();
    expect(readTrust().versions.timestamp).toBe(1);
    await site.close();
  });

  it('that cannot be signed is a fault that is told', async () => {
    const onlineKeys = writeOnlineKeys();
    rmSync(onlineKeys.timestamp);
    const events: LogEvent[] = [];
    const site = await open({ onlineKeys }, (event) => events.push(event));
    clock.pass(2 * DAY_MILLIS);
    await site.doChores();
    expect(events).toEqual([{ kind: 'fault', error: expect.objectContaining({ code: 'key-invalid' }) }]);
    await site.close();
  });
});

describe('the status', () => {
  const read = (config = register.config) => readLogStatus(config, clock.wall / 1000);

  it('says that all is well, with every witness', async () => {
    await register.open();
    await register.notice(['a.example']);
    clock.pass(10_000);
    const status = await read();
    expect(status).toMatchObject({ origin: register.origin, size: 1, quorum: 2, witnessed: true, ageSeconds: 10 });
    expect(status).toMatchObject({ running: true, trustExpired: false, faults: [] });
    expect(status.rootHash).toBe(register.site.sequencer.checkpoint().checkpoint.root.toString('hex'));
    expect(status.witnesses.map(({ name }) => name)).toEqual(register.witnesses.map(({ name }) => name));
    expect(status.witnesses.filter(({ cosignedAt }) => cosignedAt !== undefined).length).toBeGreaterThanOrEqual(2);
    await register.site.close();
  });

  it.each([
    ['nobody runs it', async () => {}, /no sequencer/],
    [
      'too few witnesses signed',
      async () => {
        await register.open();
        await register.withoutWitnesses(() => register.notice(['b.example']));
      },
      /0 of 2 witnesses cosigned/,
    ],
    ['it has not been cosigned for long', async () => clock.pass(200_000), /stale/],
    ['the TUF metadata has lapsed', async () => clock.pass(8 * DAY_MILLIS), /lapsed/],
  ])('says when %s', async (_case, act, fault) => {
    await act();
    const { faults } = await read();
    expect(faults.join('\n')).toMatch(fault);
    await register.site.close();
  });

  it('of a log that never ran says how to start it', async () => {
    rmSync(join(register.publicFolder, 'checkpoint'));
    await expect(read()).rejects.toMatchObject({
      code: 'log-invalid',
      message: expect.stringContaining('warta log run'),
    });
  });
});

describe('a log in a bucket', () => {
  const store = new ConditionalS3();
  let bucket: NonNullable<LogRegister['config']['bucket']>;
  beforeAll(async () => {
    const endpoint = await store.start();
    vi.stubEnv('AWS_ACCESS_KEY_ID', 'TEST').stubEnv('AWS_SECRET_ACCESS_KEY', 'TEST');
    bucket = { name: 'bucket', prefix: 'r/', region: 'eu-central-1', endpoint, conditionalWrites: true };
  });
  afterAll(async () => {
    vi.unstubAllEnvs();
    await store.close();
  });

  it('has all that readers need there, and nothing that they must not have', async () => {
    const config = { bucket, state: join(register.folder, 'bucket-state') };
    const site = await open({ ...config, onlineKeys: writeOnlineKeys() });
    const open1 = register.sign({ type: 'notice', names: ['a.example'] });
    const sealed = register.sign({ type: 'notice', names: ['sealed.example'], sealed: true });
    for (const { envelope, annex } of [open1, sealed]) {
      await site.publisher.submit(envelope, async () => annex!.bytes);
    }
    await site.nodes.enrol({ licensee: 'NSP-1', node: 'kl-1', publicKey: register.witnesses[0]!.publicKey });
    clock.pass(2 * DAY_MILLIS);
    await site.doChores();
    await site.publisher.look();
    await site.sequencer.flush();
    const held = (path: string) => store.objects.get(`r/${path}`);
    expect(held('checkpoint')?.equals(site.sequencer.checkpoint().note)).toBe(true);
    expect(held('tile/entries/000.p/3')).toBeDefined();
    expect(held(annexPath(open1.annex!.digest, false))?.equals(open1.annex!.bytes)).toBe(true);
    for (const path of ['trust/timestamp.json', 'trust/1.root.json', 'nodes.json']) {
      expect(held(path)?.equals(readFileSync(join(register.publicFolder, path))), path).toBe(true);
    }
    const all = Buffer.concat([...store.objects.values()]);
    expect(all.includes('sealed.example')).toBe(false);
    expect(all.includes('PRIVATE KEY')).toBe(false);
    const nowSeconds = clock.wall / 1000;
    const status = await readLogStatus({ ...register.config, ...config }, nowSeconds);
    expect(status).toMatchObject({ size: 3, witnessed: true, faults: [] });
    await site.close();

    // Taken up again, it knows what it holds.
    const again = await open(config);
    await expect(again.publisher.submit(open1.envelope)).rejects.toMatchObject({ code: 'statement-replayed' });
    await again.close();
  });
});
