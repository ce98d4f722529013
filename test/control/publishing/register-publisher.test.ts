import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { LogSite } from '../../../src/control/publishing/log-site.ts';
import { PublishedTrust } from '../../../src/control/publishing/published-trust.ts';
import { RegisterPublisher } from '../../../src/control/publishing/register-publisher.ts';
import { readLeaves } from '../../../src/control/publishing/register-tree.ts';
import { DirectoryStorage } from '../../../src/log/directory-storage.ts';
import { Sequencer } from '../../../src/log/sequencer.ts';
import { annexPath } from '../../../src/register/annex.ts';
import type { AuthoritiesFile } from '../../../src/register/authorities.ts';
import { composeCanonical } from '../../../src/register/canonical.ts';
import { parseEnvelope, signEnvelope } from '../../../src/register/envelope.ts';
import { parseLeaf } from '../../../src/register/leaf.ts';
import { FakeClock } from '../../base/fake-clock.ts';
import { makeFolder } from '../../support/folders.ts';
import { LogRegister, type Published, signerOf } from '../../support/log-register.ts';
import { PACK_FILE, type SignedStatement, type StatementDraft } from '../../support/test-authority.ts';

const HOUR = 3_600_000;

/** Everything a register has on disk that a reader could see, with its bytes; locks and the like are left out. */
function snapshot(register: LogRegister): Map<string, string> {
  const files = new Map<string, string>();
  for (const root of [register.publicFolder, register.sealedFolder]) {
    for (const name of readdirSync(root, { recursive: true, encoding: 'utf8' })) {
      const path = join(root, name);
      if (/\.(jsonl?)$|checkpoint$|\d$/.test(name)) files.set(path, readFile(path));
    }
  }
  return files;
}

function readFile(path: string): string {
  try {
    return readFileSync(path, 'base64');
  } catch {
    return 'folder';
  }
}

/** The types of statements in the log, in order. */
async function typesIn(register: LogRegister): Promise<string[]> {
  const types: string[] = [];
  for await (const leaf of readLeaves(new DirectoryStorage(register.publicFolder), 0, register.size)) {
    types.push(JSON.parse(parseEnvelope(parseLeaf(leaf).envelope).payload.toString()).type);
  }
  return types;
}

const codeOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'accepted',
    (error) => error.code ?? String(error),
  );

describe('admission', () => {
  let clock: FakeClock;
  let register: LogRegister;
  let notice: Published;
  beforeAll(async () => {
    clock = new FakeClock();
    register = await LogRegister.create(makeFolder(), { clock });
    notice = await register.notice(['a.example', { subtree: 'b.example' }]);
    await register.notice(['sealed.example'], { sealed: true });
    register.revokeOfficer('two', register.nowSeconds + 3600);
    register.changeAuthorities((file) => {
      const [authority] = file.authorities;
      const other = { ...authority!, id: 'other', mayRelease: [], officers: structuredClone(authority!.officers) };
      file.authorities.push(other);
    });
  });
  afterAll(() => register.close());

  const draft = (changes: object = {}): StatementDraft => ({ type: 'notice', names: ['c.example'], ...changes });
  const revocation = (changes: object = {}): StatementDraft => ({
    type: 'revocation',
    notice: notice.id,
    from: 'now',
    ...changes,
  });
  const sign = (source: StatementDraft, signers?: string[]) => register.sign(source, signers);
  const submit = ({ envelope, annex }: SignedStatement) =>
    register.site.publisher.submit(envelope, async () => annex?.bytes);
  /** Signs a payload that drafting would refuse. */
  const forge = (change: (statement: Record<string, unknown>) => unknown): SignedStatement => {
    const { envelope, annex } = sign(draft());
    const changed = change(JSON.parse(parseEnvelope(envelope).payload.toString()));
    const payload = Buffer.isBuffer(changed) ? changed : composeCanonical(changed);
    return { id: '', envelope: signEnvelope(payload, ['one', 'two'].map(signerOf)), annex };
  };

  const cases: [string, string, () => SignedStatement][] = [
    ['no JSON', 'statement-malformed', () => ({ id: '', envelope: Buffer.from('<html>') })],
    ['a huge one', 'statement-oversized', () => ({ id: '', envelope: Buffer.alloc(70_000, ' ') })],
    ['an unknown key', 'statement-malformed', () => forge((one) => ({ ...one, extra: 1 }))],
    ['another spelling', 'statement-not-canonical', () => forge((one) => Buffer.from(JSON.stringify(one, null, 1)))],
    ['no signature', 'statement-unsigned', () => sign(draft(), [])],
    ['one signature of two', 'statement-unsigned', () => sign(draft(), ['one'])],
    ['one key twice', 'statement-unsigned', () => sign(draft(), ['one', 'one'])],
    ["a stranger's signature", 'statement-unsigned', () => sign(draft(), ['one', 'stranger'])],
    ["the heartbeat's signature", 'statement-unsigned', () => sign(draft(), ['one', 'heartbeat'])],
    [
      'an authority that is not pinned',
      'statement-out-of-scope',
      () => forge((one) => ({ ...one, authority: 'nobody' })),
    ],
    ['a category that is none', 'statement-out-of-scope', () => forge((one) => ({ ...one, category: 'nothing' }))],
    ['a term that is too long', 'statement-out-of-scope', () => sign(draft({ term: { expires: '900d' } }))],
    ['a signature in the future', 'statement-malformed', () => sign(draft({ signedAt: '2026-12-01T00:00:00Z' }))],
    ['the same again', 'statement-replayed', () => notice],
    ['no annex', 'annex-missing', () => ({ ...sign(draft()), annex: undefined })],
    [
      "another one's annex",
      'annex-mismatch',
      () => ({ ...sign(draft({ names: ['d.example'] })), annex: notice.annex }),
    ],
    ['a changed annex', 'annex-mismatch', () => spoil(sign(draft()))],
    ['a target nobody knows', 'statement-target-unknown', () => sign(revocation({ notice: '0'.repeat(64) }))],
    ['an entry the notice has not', 'statement-target-unknown', () => sign(revocation({ entries: ['e9'] }))],
    ["another authority's notice", 'statement-out-of-scope', () => sign(revocation({ authority: 'other' }))],
    [
      "a successor of another authority's notice",
      'statement-out-of-scope',
      () => sign(draft({ authority: 'other', supersedes: [notice.id] })),
    ],
    [
      'a resumption of a notice',
      'statement-target-unknown',
      () => sign({ type: 'resumption', target: notice.id, from: 'now' }),
    ],
  ];

  /** Changes one octet of an annex. */
  function spoil(signed: SignedStatement): SignedStatement {
    const bytes = Buffer.from(signed.annex!.bytes);
    bytes[20] ^= 1;
    return { ...signed, annex: { ...signed.annex!, bytes } };
  }

  it.each(cases)('refuses %s with %s and changes nothing', async (_case, code, make) => {
    const before = snapshot(register);
    expect(await codeOf(submit(make()))).toBe(code);
    await register.site.sequencer.flush();
    expect(snapshot(register)).toEqual(before);
    expect(register.size).toBe(2);
  });

  it('refuses an annex that is longer than what was signed, without asking for more of it', async () => {
    const { envelope, annex } = sign(draft());
    let asked = 0;
    const outcome = register.site.publisher.submit(envelope, async (maxBytes) => {
      asked = maxBytes;
      return Buffer.concat([annex!.bytes, Buffer.from('\n')]);
    });
    expect(await codeOf(outcome)).toBe('annex-mismatch');
    expect(asked).toBe(annex!.bytes.length);
  });

  it('does not ask for the annex of what nobody signed', async () => {
    let asked = false;
    const outcome = register.site.publisher.submit(sign(draft(), ['one']).envelope, async () => {
      asked = true;
      return undefined;
    });
    expect(await codeOf(outcome)).toBe('statement-unsigned');
    expect(asked).toBe(false);
  });

  it('keeps sealed annexes out of the public tree', () => {
    const names = readdirSync(register.publicFolder, { recursive: true, encoding: 'utf8' });
    expect(names.filter((name) => name.endsWith('.jsonl'))).toHaveLength(1);
    const sealed = readdirSync(register.sealedFolder, { recursive: true, encoding: 'utf8' });
    expect(sealed.filter((name) => name.endsWith('.jsonl'))).toHaveLength(1);
    const all = [...snapshot(register).entries()].filter(([path]) => path.startsWith(register.publicFolder));
    expect(all.some(([, bytes]) => Buffer.from(bytes, 'base64').includes('sealed.example'))).toBe(false);
  });

  it('takes a release, but no block, from a log whose clock was set back', async () => {
    clock.wall -= 2 * HOUR;
    expect(await codeOf(submit(sign(draft({ names: ['e.example'] }))))).toBe('statement-backdated');
    expect(register.size).toBe(2);
    expect(await codeOf(submit(sign(revocation({ entries: ['e0000002'] }))))).toBe('accepted');
    clock.wall += 2 * HOUR;
  });

  it('judges again when its turn comes: a key revoked while the annex came in counts no more', async () => {
    const { envelope, annex } = sign(draft({ names: ['slow.example'] }));
    const outcome = register.site.publisher.submit(envelope, async () => {
      register.revokeOfficer('one', register.nowSeconds - 60);
      return annex!.bytes;
    });
    expect(await codeOf(outcome)).toBe('statement-unsigned');
    register.changeAuthorities((file) => {
      file.authorities[0]!.officers.find(({ id }) => id === 'one')!.revokedAt = undefined;
    });
  });

  it("judges by the log's time: a key that has been revoked meanwhile signs no more", async () => {
    const signed = sign(draft({ names: ['f.example'] }));
    clock.pass(2 * HOUR);
    expect(await codeOf(submit(signed))).toBe('statement-unsigned');
  });

  it('takes releases only once the TUF metadata has lapsed, and everything again after a new timestamp', async () => {
    register.changeAuthorities((file) => {
      file.authorities[0]!.officers.find(({ id }) => id === 'two')!.revokedAt = undefined;
    });
    clock.pass(8 * 24 * HOUR);
    expect(await codeOf(submit(sign(draft({ names: ['g.example'] }))))).toBe('trust-expired');
    expect(await codeOf(submit(sign(revocation())))).toBe('accepted');
    register.refreshTimestamp();
    expect(await codeOf(submit(sign(draft({ names: ['g.example'] }))))).toBe('accepted');
  });

  it('takes nothing while the tree holds trust that the pinned root did not sign', async () => {
    const path = join(register.publicFolder, 'trust/timestamp.json');
    const storage = new DirectoryStorage(register.publicFolder);
    const good = readFileSync(path);
    const forged = Buffer.from(
      good.toString().replace(/"version": (\d+)/, (_, version) => `"version": ${+version + 1}`),
    );
    await storage.replace('trust/timestamp.json', forged, good);
    expect(await codeOf(submit(sign(draft({ names: ['h.example'] }))))).toBe('trust-invalid');
    await storage.replace('trust/timestamp.json', good, forged);
    expect(await codeOf(submit(sign(draft({ names: ['h.example'] }))))).toBe('accepted');
  });
});

describe('order', () => {
  let register: LogRegister;
  beforeEach(async () => {
    register = await LogRegister.create(makeFolder(), { clock: new FakeClock() });
    return () => register.close();
  });

  it('lets a statement name one that was accepted a moment before, published or not', async () => {
    const signed = register.sign({ type: 'notice', names: ['a.example'] });
    const { publisher } = register.site;
    await publisher.submit(signed.envelope, async () => signed.annex!.bytes);
    const revocation = register.sign({ type: 'revocation', notice: signed.id, entries: ['e0000001'], from: 'now' });
    expect((await publisher.submit(revocation.envelope)).index).toBe(1);
  });

  it('appends the same statement once, however often it is handed in at a time', async () => {
    const signed = register.sign({ type: 'notice', names: ['a.example'] });
    const attempts = Array.from({ length: 20 }, () =>
      codeOf(register.site.publisher.submit(signed.envelope, async () => signed.annex!.bytes)),
    );
    const codes = await Promise.all(attempts);
    expect(codes.filter((code) => code === 'accepted')).toHaveLength(1);
    expect(new Set(codes)).toEqual(new Set(['accepted', 'statement-replayed']));
    expect(register.size).toBe(1);
  });

  it('knows after a restart what the log holds', async () => {
    const notice = await register.notice(['a.example']);
    await register.site.close();
    await register.open();
    expect(await codeOf(register.publish({ type: 'halt', instrument: 'cma-263', from: 'now' }))).toBe('accepted');
    expect(await codeOf(register.site.publisher.submit(notice.envelope))).toBe('statement-replayed');
    expect(await codeOf(register.revoke(notice.id))).toBe('accepted');
    expect(await codeOf(register.revoke('1'.repeat(64)))).toBe('statement-target-unknown');
  });

  it('builds nothing on a statement that is void by now', async () => {
    const notice = await register.notice(['a.example']);
    register.revokeOfficer('two', register.nowSeconds - 3600);
    register.changeAuthorities((file) => {
      const { officers } = file.authorities[0]!;
      officers.push({ ...officers[0]!, id: 'two-next', publicKey: file.log!.publicKey });
    });
    const revocation = register.sign({ type: 'revocation', notice: notice.id, from: 'now' }, ['one']);
    expect(await codeOf(register.site.publisher.submit(revocation.envelope))).toBe('statement-target-unknown');
  });

  it('lives with leaves that are no statements', async () => {
    await register.appendRaw(Buffer.from('junk'));
    const notice = await register.notice(['a.example']);
    await register.site.close();
    await register.open();
    expect(await codeOf(register.revoke(notice.id))).toBe('accepted');
    expect(register.size).toBe(3);
  });
});

/** A state whose next write of some kind goes wrong: before it is done, or after. */
class FailingStorage extends DirectoryStorage {
  next: { method: 'create' | 'replace'; when: 'before' | 'after' } | undefined;

  override create(path: string, bytes: Uint8Array): Promise<void> {
    return this.#attempt('create', () => super.create(path, bytes));
  }

  override replace(path: string, bytes: Uint8Array, expected: Uint8Array | undefined): Promise<void> {
    return this.#attempt('replace', () => super.replace(path, bytes, expected));
  }

  async #attempt(method: 'create' | 'replace', act: () => Promise<void>): Promise<void> {
    const fails = this.next?.method === method ? this.next.when : undefined;
    if (fails !== undefined) this.next = undefined;
    if (fails === 'before') throw Object.assign(new Error('disk'), { code: 'store-failed' });
    await act();
    if (fails === 'after') throw Object.assign(new Error('disk'), { code: 'store-failed' });
  }
}

describe('a failure between annex and leaf', () => {
  it.each([
    ['staging fails', { method: 'create', when: 'before' }],
    ['staging fails, but was done', { method: 'create', when: 'after' }],
    ['the commit fails', { method: 'replace', when: 'before' }],
    ['the commit fails, but was done', { method: 'replace', when: 'after' }],
  ] as const)('%s: the statement is in the log once, after one more try', async (_case, fault) => {
    const folder = makeFolder();
    const clock = new FakeClock();
    const register = await LogRegister.create(folder, { clock });
    await register.site.close();
    const state = new FailingStorage(join(folder, 'state'));
    const publicTree = new DirectoryStorage(register.publicFolder);
    const sequencer = await Sequencer.open({
      storage: publicTree,
      state,
      origin: register.origin,
      privateKey: register.logKey,
      witnesses: register.witnesses,
      clock,
    });
    const publisher = await RegisterPublisher.open({
      sequencer,
      publicTree,
      sealedTree: new DirectoryStorage(register.sealedFolder),
      trust: new PublishedTrust(publicTree, readFileSync(register.rootFile), readFileSync(PACK_FILE)),
      clock,
      freshSeconds: 60,
    });
    const signed = register.sign({ type: 'notice', names: ['a.example'] });
    const submit = () => publisher.submit(signed.envelope, async () => signed.annex!.bytes);
    state.next = fault;
    const first = await codeOf(submit());
    expect(await publicTree.read(annexPath(signed.annex!.digest, false))).toEqual(signed.annex!.bytes);
    const second = await codeOf(submit());
    expect([first, second]).not.toEqual(['accepted', 'accepted']);
    expect([first, second]).toContain('accepted');
    await sequencer.flush();
    expect(sequencer.checkpoint().checkpoint.size).toBe(1);
    await sequencer.close();
    await register.open();
    expect(await typesIn(register)).toEqual(['notice']);
    await register.close();
  });

  it('an annex whose leaf never came harms nobody, and its statement can be handed in later', async () => {
    const register = await LogRegister.create(makeFolder(), { clock: new FakeClock() });
    const signed = register.sign({ type: 'notice', names: ['a.example'] });
    await register.storeAnnex(signed.annex!.digest, signed.annex!.bytes);
    await register.heartbeat();
    const { index } = await register.site.publisher.submit(signed.envelope, async () => signed.annex!.bytes);
    expect(index).toBe(1);
    await register.close();
  });

  it('an annex that something else was stored for is found out', async () => {
    const register = await LogRegister.create(makeFolder(), { clock: new FakeClock() });
    const signed = register.sign({ type: 'notice', names: ['a.example'] });
    await register.storeAnnex(signed.annex!.digest, Buffer.from('rotten'));
    expect(await codeOf(register.site.publisher.submit(signed.envelope, async () => signed.annex!.bytes))).toBe(
      'log-invalid',
    );
    expect(register.size).toBe(0);
    await register.close();
  });
});

describe('what is done on time', () => {
  let clock: FakeClock;
  let register: LogRegister;
  beforeEach(async () => {
    clock = new FakeClock();
    const options = { clock, heartbeatSeconds: 3600, freshSeconds: 60, termDays: { timestamp: 365, snapshot: 365 } };
    register = await LogRegister.create(makeFolder(), options);
    return () => register.close();
  });
  const freshAt = () => register.site.sequencer.checkpoint().newestCosignatureSeconds!;

  it('is a heartbeat at the start and at every interval, through a day in which nothing happens', async () => {
    for (let minute = 0; minute < 24 * 60; minute += 5) {
      await register.site.publisher.look();
      clock.pass(300_000);
    }
    expect(await typesIn(register)).toEqual(Array(24).fill('heartbeat'));
    const times: number[] = [];
    for await (const leaf of readLeaves(new DirectoryStorage(register.publicFolder), 0, 24)) {
      times.push(parseLeaf(leaf).integratedAtSeconds);
    }
    expect(times.slice(1).map((time, i) => time - times[i]!)).toEqual(Array(23).fill(3600));
  });

  it('keeps cosignatures no older than the interval', async () => {
    for (let second = 0; second < 300; second++) {
      await register.site.publisher.look();
      expect(register.nowSeconds - freshAt()).toBeLessThanOrEqual(60);
      clock.pass(1000);
    }
  });

  it('goes on with the interval after a restart, and makes up for what was missed', async () => {
    await register.site.publisher.look();
    clock.pass(HOUR / 2);
    await register.site.close();
    await register.open();
    await register.site.publisher.look();
    expect(register.size).toBe(1);
    clock.pass(HOUR / 2);
    await register.site.publisher.look();
    expect(register.size).toBe(2);
    await register.site.close();
    clock.pass(5 * HOUR);
    await register.open();
    await register.site.publisher.look();
    expect(register.size).toBe(3);
  });

  it('is not put off by a clock that was set back a day', async () => {
    await register.site.publisher.look();
    clock.wall -= 24 * HOUR;
    const before = freshAt();
    clock.pass(HOUR);
    await register.site.publisher.look();
    // Heartbeats of a day ago would be void; that they fail is told, and cosigning goes on.
    expect(register.size).toBe(1);
    expect(freshAt()).not.toBe(before);
  });

  it('tells of failures and tries again', async () => {
    const events: string[] = [];
    await register.site.close();
    register.site = await LogSite.open(register.config, {
      clock,
      witnesses: register.witnesses,
      onEvent: (event) => events.push(event.kind),
    });
    register.changeAuthorities((file) => {
      file.authorities[0]!.officers.find(({ id }) => id === 'heartbeat')!.may = [];
    });
    await register.site.publisher.look();
    expect(events).toEqual(['failed']);
    register.changeAuthorities((file) => {
      file.authorities[0]!.officers.find(({ id }) => id === 'heartbeat')!.may = ['heartbeat'];
    });
    await register.site.publisher.look();
    expect(events).toEqual(['failed']);
    clock.pass(30_000);
    await register.site.publisher.look();
    expect(events).toEqual(['failed', 'appended']);
  });
});

describe('opening a log', () => {
  const faults: [string, (file: AuthoritiesFile) => unknown][] = [
    ['another log key', ({ log, witnesses }) => Object.assign(log!, { publicKey: witnesses![0]!.publicKey })],
    ['another origin', ({ log }) => Object.assign(log!, { origin: 'register.test/other' })],
    ['no heartbeat officer', ({ authorities }) => authorities[0]!.officers.pop()],
    ['a heartbeat officer who may sign more', ({ authorities }) => delete authorities[0]!.officers.at(-1)!.may],
  ];

  it.each(faults)('is refused with %s in authorities.json, and locks nothing', async (_case, change) => {
    const register = await LogRegister.create(makeFolder(), { clock: new FakeClock() });
    const good = structuredClone(register.authorities);
    await register.site.close();
    register.changeAuthorities((file) => void change(file));
    expect(await codeOf(register.open())).toBe('config-invalid');
    register.changeAuthorities((file) => void Object.assign(file, good, { version: file.version }));
    await register.open();
    await register.close();
  });

  it('is refused while another process has it', async () => {
    const register = await LogRegister.create(makeFolder(), { clock: new FakeClock() });
    const { site } = register;
    expect(await codeOf(register.open())).toBe('log-busy');
    register.site = site;
    await register.close();
  });

  it('is refused when the public tree was lost', async () => {
    const register = await LogRegister.create(makeFolder(), { clock: new FakeClock() });
    await register.notice(['a.example']);
    await register.site.close();
    rmSync(join(register.publicFolder, 'tile'), { recursive: true });
    expect(await codeOf(register.open())).toBe('log-invalid');
    await Promise.all(register.witnesses.map((witness) => witness.close()));
  });
});
