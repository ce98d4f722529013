import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { Command, CommanderError } from 'commander';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { WartaError } from '../../src/base/errors.ts';
import { registerTrustCommand } from '../../src/cli/trust-command.ts';
import { parseAuthorities } from '../../src/register/authorities.ts';
import { composeCanonical } from '../../src/register/canonical.ts';
import { signEnvelope } from '../../src/register/envelope.ts';
import { createKey, publicKeyOf, readPrivateKey, writePrivateKey } from '../../src/register/key.ts';
import { readRegister } from '../../src/register/read-register.ts';
import { formatInstant } from '../../src/register/time.ts';
import { loadTrust, refreshTrust } from '../../src/trust/client.ts';
import { composeMetadata, parseMetadata } from '../../src/trust/metadata.ts';
import { pack, packSha256 } from '../register/fixture.ts';

const DAY = 86_400;
const YEAR = 365 * DAY;

let folder: string;
const path = (...names: string[]) => join(folder, ...names);
const now = () => Math.floor(Date.now() / 1000);

/** Makes a key file and returns its public half. */
function makeKey(name: string): string {
  const { privatePem, publicKey } = createKey();
  writePrivateKey(path(`${name}.pem`), privatePem);
  return publicKey;
}

/** Runs `warta trust …` in this process. */
async function trust(...words: string[]): Promise<{ exitCode: number; out: string; error: string; message: string }> {
  const lines: string[] = [];
  const log = vi.spyOn(console, 'log').mockImplementation((text) => void lines.push(String(text)));
  const program = new Command('warta').exitOverride().configureOutput({ writeErr: () => {} });
  registerTrustCommand(program);
  try {
    await program.parseAsync(['trust', ...words], { from: 'user' });
    return { exitCode: 0, out: stripVTControlCharacters(lines.join('\n')), error: '', message: '' };
  } catch (error) {
    if (error instanceof CommanderError) return { exitCode: 2, out: '', error: error.code, message: error.message };
    if (error instanceof WartaError) return { exitCode: 1, out: '', error: error.code, message: error.message };
    throw error;
  } finally {
    log.mockRestore();
  }
}

/** Runs a command that must succeed and returns what it prints as JSON. */
// biome-ignore lint/suspicious/noExplicitAny: tests look into it freely
async function trustJson(...words: string[]): Promise<any> {
  const outcome = await trust(...words, '--json');
  if (outcome.exitCode !== 0) throw new Error(`${words.join(' ')}: ${outcome.message}`);
  return JSON.parse(outcome.out);
}

/** A file as the commands list it. */
interface Listed {
  role: string;
  version: number;
  requirements: { threshold: number; signed: string[] }[];
}

const ROOT = ['r1', 'r2', 'r3', 'r4', 'r5'];
const TARGETS = ['t1', 't2', 't3'];
/** Public keys by the name of their file. */
let holders: Record<string, string>;

/** Makes every key, and authorities.json with one officer. */
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'warta-ceremony-'));
  mkdirSync(path('online'));
  const names = [...ROOT, ...TARGETS, 'online/snapshot', 'online/timestamp', 'one'];
  holders = Object.fromEntries(names.map((name) => [name, makeKey(name)]));
  const officer = {
    id: 'one',
    name: 'Officer one',
    role: 'approving-officer',
    publicKey: holders.one,
    validFrom: formatInstant(now() - YEAR),
    validUntil: formatInstant(now() + YEAR),
  };
  const authority = {
    id: 'mcmc',
    name: 'MCMC',
    categories: pack.categories.map(({ id }) => id),
    instruments: pack.instruments.map(({ id }) => id),
    thresholds: { notice: 2, release: 1 },
    officers: [officer],
  };
  const text = { version: 1, policyPack: { id: pack.id, sha256: packSha256 }, authorities: [authority] };
  writeFileSync(path('authorities.json'), JSON.stringify(text));
});
afterEach(() => rmSync(folder, { recursive: true }));

/** `--add` for these holders. */
const add = (role: string, names: readonly string[]) => names.flatMap((name) => ['--add', `${role}=${holders[name]}`]);
const online = () => ['--online-keys', path('online')];

/** Drafts the first root with everyone in it. */
function init(...more: string[]) {
  return trustJson(
    ...['init', '--draft', path('draft'), '--authorities', path('authorities.json')],
    ...[...add('root', ROOT), ...add('targets', TARGETS)],
    ...[...add('snapshot', ['online/snapshot']), ...add('timestamp', ['online/timestamp']), ...more],
  );
}

function sign(draft: string, file: string, ...names: string[]) {
  return trustJson('sign', path(draft, file), ...names.flatMap((name) => ['--key', path(`${name}.pem`)]));
}

function publish(...more: string[]) {
  return trustJson('publish', '--tree', path('trust'), ...online(), ...more);
}

/** Publishes root 1, signed by the thresholds. */
async function publishFirst(): Promise<void> {
  await init();
  await sign('draft', '1.root.json', 'r1', 'r2', 'r3');
  await sign('draft', '1.targets.json', 't1', 't2');
  await publish('--draft', path('draft'));
}

/** What a node that has pinned root 1 reads now. */
function read(nowSeconds = now()) {
  return refreshTrust({
    pinnedRoot: readFileSync(path('trust/1.root.json')),
    files: new Map(),
    scratch: path('scratch'),
    nowSeconds,
    fetch: async (file) => (existsSync(path('trust', file)) ? readFileSync(path('trust', file)) : undefined),
  });
}

const tree = () => ['--tree', path('trust')];
const officerOf = async (id: string) =>
  parseAuthorities((await read()).authorities).file.authorities[0].officers.find((officer) => officer.id === id);

describe('the first ceremony', () => {
  it('drafts a root of 3 of 5 keys, and says who signs what next', async () => {
    const draft = await init();
    expect(draft.files.map(({ role, version }: Listed) => [role, version])).toEqual([
      ['root', 1],
      ['targets', 1],
    ]);
    expect(draft.files[0].requirements).toMatchObject([
      { threshold: 3, signed: [], open: ROOT.map((name) => holders[name]) },
    ]);
    expect(draft.files[1].requirements).toMatchObject([{ threshold: 2, signed: [] }]);
    expect(draft.next).toEqual([
      `warta trust sign ${path('draft/1.root.json')} --key <key file>`,
      `warta trust sign ${path('draft/1.targets.json')} --key <key file>`,
    ]);
    expect(draft.changes).toContain('root: 3 of 5 must sign');
    expect(draft.changes).toContain(`root: + ${holders.r1}`);
  });

  it('lets every holder sign alone, one after another or on copies, and publishes when enough have', async () => {
    await init();
    // Two sign the same folder in turn; a third has a copy, which comes back.
    cpSync(path('draft'), path('copy'), { recursive: true });
    await sign('draft', '1.root.json', 'r1');
    await sign('draft', '1.root.json', 'r4');
    await sign('copy', '1.root.json', 'r5');
    const short = await trust('publish', ...tree(), ...online(), '--draft', path('draft'));
    expect(short).toMatchObject({ exitCode: 1, error: 'trust-invalid' });
    expect(short.message).toContain('1.root.json has 2 of 3 signatures');
    expect(existsSync(path('trust'))).toBe(false);
    const merged = await trustJson('sign', path('draft/1.root.json'), '--merge', path('copy/1.root.json'));
    expect(merged.files[0].requirements[0].signed).toEqual(['r1', 'r4', 'r5'].map((name) => holders[name]));
    expect(merged.next).toEqual([`warta trust sign ${path('draft/1.targets.json')} --key <key file>`]);
    expect((await trust('publish', ...tree(), ...online(), '--draft', path('draft'))).message).toContain('0 of 2');
    const signed = await sign('draft', '1.targets.json', 't1', 't3');
    expect(signed.next[0]).toMatch(/^warta trust publish --draft /);
    const published = await publish('--draft', path('draft'));
    expect(published.written.at(-1)).toBe('timestamp.json');
    const reading = await read();
    expect(reading.authorities).toBe(readFileSync(path('authorities.json'), 'utf8'));
    expect(reading.versions).toEqual({ root: 1, targets: 1, snapshot: 1, timestamp: 1 });
  });

  it('takes other thresholds and terms', async () => {
    const draft = await init('--threshold', 'root=2', '--threshold', 'targets=1', '--term', 'root=30');
    expect(draft.files.map(({ requirements: [own] }: Listed) => own.threshold)).toEqual([2, 1]);
    const days = (Date.parse(draft.files[0].expires) / 1000 - now()) / DAY;
    expect(Math.round(days)).toBe(30);
  });

  it('refuses what could not be met or read', async () => {
    const refuse = async (...more: string[]) => {
      const words = ['init', '--draft', path('other'), '--authorities', path('authorities.json'), ...more];
      const { exitCode, error, message } = await trust(...words);
      expect(existsSync(path('other'))).toBe(false);
      return { exitCode, error, message };
    };
    const all = [
      ...add('targets', TARGETS),
      ...add('snapshot', ['online/snapshot']),
      ...add('timestamp', ['online/timestamp']),
    ];
    expect((await refuse(...add('root', ['r1', 'r2']), ...all)).message).toContain(
      'root has 2 keys, 3 cannot be required',
    );
    expect((await refuse(...add('root', [...ROOT, 'r1']), ...all)).message).toContain('lists a key twice');
    expect((await refuse(...add('root', ROOT))).message).toContain('targets has 0 keys');
    expect(await refuse('--add', 'root=abc')).toMatchObject({ exitCode: 2 });
    expect(await refuse('--add', `boss=${holders.r1}`)).toMatchObject({ exitCode: 2 });
    expect(await refuse('--add', `root=${holders.r1}`, '--threshold', 'root=0')).toMatchObject({ exitCode: 2 });
    writeFileSync(path('authorities.json'), '{"version":1}');
    expect(await refuse(...add('root', ROOT), ...all)).toMatchObject({ error: 'authorities-invalid' });
  });

  it('begins in an empty folder only', async () => {
    await init();
    await expect(init()).rejects.toThrow(/is not empty/);
  });

  it('shows people what they sign, before they do', async () => {
    await init();
    const { out } = await trust('sign', path('draft/1.root.json'), '--key', path('r1.pem'));
    const at = (text: string) => {
      expect(out).toContain(text);
      return out.indexOf(text);
    };
    expect(at(`root: + ${holders.r5}`)).toBeLessThan(at('1 of 3 signatures by keys of root 1'));
    expect(at('mcmc: officer one: new')).toBeLessThan(at('next'));
    expect(out).not.toContain('PRIVATE');
  });
});

describe('signing', () => {
  beforeEach(() => init());

  it('refuses a key that holds no such role, and leaves the file as it was', async () => {
    const before = readFileSync(path('draft/1.root.json'));
    for (const name of ['t1', 'one', 'online/snapshot']) {
      const refusal = await trust('sign', path('draft/1.root.json'), '--key', path(`${name}.pem`));
      expect(refusal).toMatchObject({ exitCode: 1, error: 'key-invalid' });
    }
    expect(readFileSync(path('draft/1.root.json'))).toEqual(before);
  });

  it('counts a holder once, however often they sign', async () => {
    for (let turn = 0; turn < 3; turn++) await sign('draft', '1.root.json', 'r1', 'r1');
    const { files } = await trustJson('show', path('draft'));
    expect(files[0].requirements[0].signed).toEqual([holders.r1]);
  });

  it('takes no signatures over from a copy that says something else', async () => {
    cpSync(path('draft'), path('copy'), { recursive: true });
    const evil = parseMetadata('root', readFileSync(path('copy/1.root.json')));
    Object.assign(evil.signed, { expires: '2099-01-01T00:00:00Z' });
    writeFileSync(path('copy/1.root.json'), composeMetadata(evil));
    await sign('copy', '1.root.json', 'r2');
    const refusal = await trust('sign', path('draft/1.root.json'), '--merge', path('copy/1.root.json'));
    expect(refusal).toMatchObject({ exitCode: 1, error: 'trust-invalid' });
    expect(refusal.message).toContain('signed something else');
  });

  it('drops signatures that are not good', async () => {
    await sign('draft', '1.root.json', 'r1');
    const file = JSON.parse(readFileSync(path('draft/1.root.json'), 'utf8'));
    file.signatures[0].sig = '0'.repeat(128);
    writeFileSync(path('draft/1.root.json'), JSON.stringify(file));
    const { files } = await sign('draft', '1.root.json', 'r2');
    expect(files[0].requirements[0].signed).toEqual([holders.r2]);
    expect(JSON.parse(readFileSync(path('draft/1.root.json'), 'utf8')).signatures.length).toBe(1);
  });

  it.each(['--json', undefined])('refuses when the text beside is not the one that is signed (%s)', async (json) => {
    const before = readFileSync(path('draft/1.targets.json'));
    writeFileSync(
      path('draft/authorities.json'),
      readFileSync(path('authorities.json'), 'utf8').replace('MCMC', 'EVIL'),
    );
    const words = ['sign', path('draft/1.targets.json'), '--key', path('t1.pem')];
    const refusal = await trust(...words, ...(json ? [json] : []));
    expect(refusal).toMatchObject({ exitCode: 1, error: 'trust-invalid' });
    expect(refusal.message).toContain('is not the text to be signed');
    expect(readFileSync(path('draft/1.targets.json'))).toEqual(before);
  });

  it('takes neither nothing nor a file that is none', async () => {
    expect(await trust('sign', path('draft/1.root.json'))).toMatchObject({ exitCode: 2 });
    const refusal = await trust('sign', path('draft/authorities.json'), '--key', path('r1.pem'));
    expect(refusal).toMatchObject({ exitCode: 1, error: 'trust-invalid' });
  });
});

describe('publishing', () => {
  beforeEach(publishFirst);

  it('without a draft signs the timestamp anew, and says until when', async () => {
    const published = await publish();
    expect(published.written).toEqual(['timestamp.json']);
    expect((await read()).versions).toEqual({ root: 1, targets: 1, snapshot: 1, timestamp: 2 });
    const { out } = await trust('publish', ...tree(), ...online());
    expect(out).toMatch(/next +before .* \(timestamp\): warta trust publish --tree/);
    expect(out).toContain('sha256');
  });

  it('takes single key files, and refuses without the key of the timestamp', async () => {
    const file = ['--online-keys', path('online/timestamp.pem')];
    expect((await trustJson('publish', ...tree(), ...file)).written).toEqual(['timestamp.json']);
    const refusal = await trust('publish', ...tree(), '--online-keys', path('online/snapshot.pem'));
    expect(refusal).toMatchObject({ exitCode: 1, error: 'trust-invalid' });
    expect(refusal.message).toContain('timestamp was signed by 0/1');
  });

  it('publishes a draft once: again it renews the timestamp only', async () => {
    expect((await publish('--draft', path('draft'))).written).toEqual(['timestamp.json']);
  });

  it('refuses a draft that another one has overtaken', async () => {
    const amend = (draft: string) => trustJson('amend', ...tree(), '--draft', path(draft));
    await amend('d1');
    await amend('d2');
    await sign('d1', '2.targets.json', 't1', 't2');
    await sign('d2', '2.targets.json', 't2', 't3');
    writeFileSync(path('later.json'), readFileSync(path('authorities.json'), 'utf8').replace('"MCMC"', '"Later"'));
    await trustJson('amend', ...tree(), '--draft', path('d3'), '--authorities', path('later.json'));
    await sign('d3', '2.targets.json', 't2', 't3');
    await publish('--draft', path('d3'));
    const refusal = await trust('publish', ...tree(), ...online(), '--draft', path('d1'));
    expect(refusal).toMatchObject({ exitCode: 1, error: 'trust-invalid' });
    expect(refusal.message).toContain('make the draft again');
    expect((await trust('amend', ...tree(), '--draft', path('d2'))).message).toContain('older edition');
    expect((await read()).authorities).toContain('Later');
  });

  it('shows a tree', async () => {
    const shown = await trustJson('show', path('trust'));
    expect(shown.roles.map(({ role, version }: Listed) => [role, version])).toEqual([
      ['root', 1],
      ['targets', 1],
      ['snapshot', 1],
      ['timestamp', 1],
    ]);
    expect((await trust('show', path('trust'))).out).toContain('1.root.json at every node');
    expect(await trust('show', path('online'))).toMatchObject({ exitCode: 1, error: 'trust-invalid' });
  });
});

describe("officers' keys", () => {
  beforeEach(publishFirst);

  /** Judges a heartbeat that the key of a file signed at a time, by what is published now. */
  async function judge(name: string, atSeconds: number): Promise<string> {
    const at = formatInstant(atSeconds);
    const heartbeat = {
      type: 'heartbeat',
      version: 1,
      authority: 'mcmc',
      reference: 'B/1',
      signedAt: at,
      at,
      reasons: { public: 'Alive.' },
    };
    const privateKey = readPrivateKey(path(`${name}.pem`));
    const envelope = signEnvelope(composeCanonical(heartbeat), [{ keyId: publicKeyOf(privateKey), privateKey }]);
    const authorities = parseAuthorities((await read()).authorities, packSha256);
    const leaf = { name: 'leaf', envelope, integratedAtSeconds: atSeconds };
    const { verdicts } = readRegister(
      [leaf],
      { read: () => undefined },
      { authorities, pack, licensee: 'X', nowSeconds: now() },
    );
    return verdicts[0].code ?? 'ok';
  }

  const addKey = (draft: string, id: string, ...more: string[]) =>
    trustJson(
      ...['add-key', ...tree(), '--draft', path(draft), '--authority', 'mcmc', '--officer', id],
      ...['--name', `Officer ${id}`, '--key', holders[id], ...more],
    );
  const revokeKey = (draft: string, id: string, ...more: string[]) =>
    trustJson('revoke-key', ...tree(), '--draft', path(draft), '--authority', 'mcmc', '--officer', id, ...more);
  const finish = async (draft: string, version: number) => {
    await sign(draft, `${version}.targets.json`, 't1', 't2');
    await publish('--draft', path(draft));
  };

  it('are added, and count from then on', async () => {
    holders.two = makeKey('two');
    expect(await judge('two', now())).toBe('statement-unsigned');
    const from = now() - DAY;
    const draft = await addKey('add', 'two', '--from', formatInstant(from), '--may', 'heartbeat');
    expect(draft.changes).toEqual([expect.stringContaining('mcmc: officer two: new, name "Officer two"')]);
    expect(await judge('two', now())).toBe('statement-unsigned');
    await finish('add', 2);
    expect(await officerOf('two')).toEqual({
      id: 'two',
      name: 'Officer two',
      role: 'approving-officer',
      publicKey: holders.two,
      validFrom: formatInstant(from),
      validUntil: formatInstant(from + 2 * YEAR),
      may: ['heartbeat'],
    });
    expect(await judge('two', now())).toBe('ok');
    expect(await judge('two', from - 1)).toBe('statement-unsigned');
    expect(await judge('one', now())).toBe('ok');
  });

  it('are revoked without breaking what they signed before', async () => {
    const end = now() - 10 * DAY;
    await revokeKey('revoke', 'one', '--at', formatInstant(end));
    await finish('revoke', 2);
    expect(await judge('one', end - 1)).toBe('ok');
    expect(await judge('one', end)).toBe('statement-unsigned');
    expect(await judge('one', now())).toBe('statement-unsigned');
  });

  it('are rotated: the new one takes over in the same act', async () => {
    holders['one.2'] = makeKey('one.2');
    const from = now() - DAY;
    await addKey('swap', 'one.2', '--from', formatInstant(from), '--replaces', 'one');
    await finish('swap', 2);
    expect([await judge('one', from - 1), await judge('one', from)]).toEqual(['ok', 'statement-unsigned']);
    expect([await judge('one.2', from - 1), await judge('one.2', from)]).toEqual(['statement-unsigned', 'ok']);
  });

  it('are drafted together in one folder, and signatures before the last change are void', async () => {
    holders.two = makeKey('two');
    await addKey('both', 'two');
    await sign('both', '2.targets.json', 't1', 't2');
    const draft = await revokeKey('both', 'one');
    expect(draft.changes.length).toBe(2);
    expect(draft.files[0].requirements[0].signed).toEqual([]);
    await finish('both', 2);
    const { file } = parseAuthorities((await read()).authorities);
    expect(file.version).toBe(2);
    expect(file.authorities[0].officers.map(({ id, revokedAt }) => [id, revokedAt !== undefined])).toEqual([
      ['one', true],
      ['two', false],
    ]);
  });

  it('are refused when unknown, in use, or revoked before', async () => {
    const refuse = async (attempt: Promise<unknown>, says: RegExp) => await expect(attempt).rejects.toThrow(says);
    holders.two = makeKey('two');
    holders.again = holders.one;
    await refuse(addKey('bad', 'one'), /has an officer one/);
    await refuse(addKey('bad', 'again'), /is or was the one of one/);
    await refuse(addKey('bad', 'two', '--role', 'king'), /role/);
    await refuse(revokeKey('bad', 'nobody'), /has no officer nobody/);
    await revokeKey('good', 'one');
    await refuse(revokeKey('good', 'one'), /revoked since/);
  });

  it('cannot be taken out by hand: an amended text keeps every officer', async () => {
    const text = JSON.parse(readFileSync(path('authorities.json'), 'utf8'));
    const amend = (changed: object) => {
      writeFileSync(path('changed.json'), JSON.stringify(changed));
      return trust('amend', ...tree(), '--draft', path('amend'), '--authorities', path('changed.json'), '--json');
    };
    const [authority] = text.authorities;
    const emptied = await amend({ ...text, authorities: [{ ...authority, officers: [] }] });
    expect(emptied).toMatchObject({ exitCode: 1, error: 'authorities-invalid' });
    expect(emptied.message).toContain('must stay listed');
    const changed = await amend({ ...text, authorities: [{ ...authority, thresholds: { notice: 3, release: 1 } }] });
    expect(JSON.parse(changed.out).changes).toEqual([
      'mcmc: thresholds: {"notice":2,"release":1} → {"notice":3,"release":1}',
    ]);
  });
});

describe('rotation', () => {
  beforeEach(publishFirst);

  const rotate = (draft: string, ...words: string[]) =>
    trustJson('rotate', ...tree(), '--draft', path(draft), ...words);

  it('of a root key is signed by the old and the new threshold', async () => {
    holders.r6 = makeKey('r6');
    const draft = await rotate('d', '--remove', `root=${holders.r1}`, '--add', `root=${holders.r6}`);
    expect(draft.changes).toEqual([`root: + ${holders.r6}`, `root: - ${holders.r1}`]);
    expect(draft.files.map(({ role }: Listed) => role)).toEqual(['root']);
    await sign('d', '2.root.json', 'r6', 'r2', 'r3');
    const short = await trust('publish', ...tree(), ...online(), '--draft', path('d'));
    expect(short.message).toContain('2.root.json has 2 of 3 signatures that root 1 asks for');
    // The key that goes still counts for the old threshold.
    await sign('d', '2.root.json', 'r1');
    await publish('--draft', path('d'));
    expect((await read()).versions.root).toBe(2);
  });

  it('of targets keys has the targets signed anew, if possible by the old keys too', async () => {
    holders.t4 = makeKey('t4');
    const draft = await rotate('d', '--remove', `targets=${holders.t1}`, '--add', `targets=${holders.t4}`);
    expect(draft.files[1].requirements).toMatchObject([
      { rootVersion: 1, isNeeded: false, threshold: 2 },
      { rootVersion: 2, isNeeded: true, threshold: 2 },
    ]);
    await sign('d', '2.root.json', 'r1', 'r2', 'r3');
    await sign('d', '2.targets.json', 't2', 't3');
    // Two keys stay, so both thresholds are met, and the root can come last.
    expect((await publish('--draft', path('d'))).written.slice(-2)).toEqual(['timestamp.json', '2.root.json']);
    const reading = await read();
    expect(reading.versions).toMatchObject({ root: 2, targets: 2 });
    expect(reading.authorities).toBe(readFileSync(path('authorities.json'), 'utf8'));
    await trustJson('amend', ...tree(), '--draft', path('next'));
    const refusal = await trust('sign', path('next/3.targets.json'), '--key', path('t1.pem'));
    expect(refusal).toMatchObject({ exitCode: 1, error: 'key-invalid' });
  });

  it('of online keys takes the old ones along for the last time', async () => {
    mkdirSync(path('new'));
    for (const role of ['snapshot', 'timestamp']) holders[`new/${role}`] = makeKey(`new/${role}`);
    const swap = (role: string) => [
      '--remove',
      `${role}=${holders[`online/${role}`]}`,
      '--add',
      `${role}=${holders[`new/${role}`]}`,
    ];
    await rotate('d', ...swap('snapshot'), ...swap('timestamp'));
    await sign('d', '2.root.json', 'r1', 'r2', 'r3');
    const both = ['--online-keys', path('online'), '--online-keys', path('new')];
    await trustJson('publish', ...tree(), ...both, '--draft', path('d'));
    expect((await read()).versions).toMatchObject({ root: 2, snapshot: 2, timestamp: 2 });
    expect(await trust('publish', ...tree(), ...online())).toMatchObject({ exitCode: 1 });
    await trustJson('publish', ...tree(), '--online-keys', path('new'));
    expect((await read()).versions.timestamp).toBe(3);
  });

  it('of a lost timestamp key goes on without it', async () => {
    holders.spare = makeKey('spare');
    await rotate('d', '--remove', `timestamp=${holders['online/timestamp']}`, '--add', `timestamp=${holders.spare}`);
    await sign('d', '2.root.json', 'r1', 'r2', 'r3');
    const keys = ['--online-keys', path('online/snapshot.pem'), '--online-keys', path('spare.pem')];
    const { written } = await trustJson('publish', ...tree(), ...keys, '--draft', path('d'));
    expect(written.slice(-2)).toEqual(['2.root.json', 'timestamp.json']);
    expect((await read()).versions).toMatchObject({ root: 2, timestamp: 2 });
  });

  it('of thresholds, and a draft that is changed before it is published', async () => {
    await rotate('d', '--threshold', 'root=4');
    await sign('d', '2.root.json', 'r1', 'r2', 'r3', 'r4');
    const again = await rotate('d', '--threshold', 'targets=3');
    expect(again.changes).toEqual(['root: 4 of 5 must sign', 'targets: 3 of 3 must sign']);
    expect(again.files[0].requirements.map(({ signed }: Listed['requirements'][number]) => signed)).toEqual([[], []]);
    await sign('d', '2.root.json', 'r1', 'r2', 'r3', 'r5');
    await sign('d', '2.targets.json', ...TARGETS);
    await publish('--draft', path('d'));
    expect((await read()).versions).toMatchObject({ root: 2, targets: 2 });
  });

  it('together with other authorities goes in one draft', async () => {
    holders.t4 = makeKey('t4');
    await rotate('d', '--remove', `targets=${holders.t1}`, '--add', `targets=${holders.t4}`);
    await trustJson('revoke-key', ...tree(), '--draft', path('d'), '--authority', 'mcmc', '--officer', 'one');
    await sign('d', '2.root.json', 'r1', 'r2', 'r3');
    await sign('d', '2.targets.json', 't3', 't4');
    await publish('--draft', path('d'));
    expect((await officerOf('one'))?.revokedAt).toBeDefined();
  });

  it('of what is not there, or twice, is refused', async () => {
    const refuse = async (words: string[], says: RegExp) => await expect(rotate('bad', ...words)).rejects.toThrow(says);
    await refuse(['--remove', `root=${holders.t1}`], /does not have a key/);
    await refuse(['--add', `root=${holders.r1}`], /lists a key twice/);
    await refuse(['--threshold', 'root=6'], /has 5 keys, 6 cannot be required/);
    await expect(trustJson('rotate', '--tree', path('none'), '--draft', path('bad'))).rejects.toThrow(
      /holds no repository/,
    );
  });

  it('renews a root for a new term without any change', async () => {
    const draft = await rotate('d', '--term', 'root=500');
    expect(draft.changes).toEqual([]);
    await sign('d', '2.root.json', 'r1', 'r2', 'r3');
    await publish('--draft', path('d'));
    const { expires } = await read();
    expect(Math.round((expires.root - now()) / DAY)).toBe(500);
  });

  it('leaves nodes that kept files from before with what they verified', async () => {
    const { files } = await read();
    await rotate('d');
    await sign('d', '2.root.json', 'r1', 'r2', 'r3');
    await publish('--draft', path('d'));
    const pinnedRoot = readFileSync(path('trust/1.root.json'));
    expect(loadTrust({ pinnedRoot, files }).versions.root).toBe(1);
  });
});
