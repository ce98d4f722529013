import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import { connect } from 'node:net';
import { join } from 'node:path';
import type { FastifyInstance, LightMyRequestResponse } from 'fastify';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { SUBMISSION_TYPE } from '../../../src/control/publishing/submission.ts';
import { submitStatement } from '../../../src/control/publishing/submit-statement.ts';
import { annexPath } from '../../../src/register/annex.ts';
import { publicKeyOf } from '../../../src/register/key.ts';
import {
  RECEIPT_MAX_BYTES,
  type Receipt,
  receiptListPath,
  receiptPath,
  signReceipt,
} from '../../../src/register/receipt.ts';
import { formatInstant } from '../../../src/register/time.ts';
import { composeCredential } from '../../../src/sync/node-identity.ts';
import { FakeClock } from '../../base/fake-clock.ts';
import { makeFolder } from '../../support/folders.ts';
import { LogRegister, type Published, seededKey } from '../../support/log-register.ts';

const LICENSEE = 'NSP(I)/2021/001';
const nodeKey = seededKey('node kl-1');
const otherKey = seededKey('node of another licensee');

let clock: FakeClock;
let register: LogRegister;
let app: FastifyInstance;
let url: string;
let notice: Published;
let sealed: Published;

beforeAll(async () => {
  clock = new FakeClock();
  register = await LogRegister.create(makeFolder(), { clock });
  notice = await register.notice(['a.example', 'b.example']);
  sealed = await register.notice(['sealed.example'], { sealed: true });
  await register.enrolNode(LICENSEE, 'kl-1', publicKeyOf(nodeKey));
  await register.enrolNode('NSP(I)/2021/002', 'kl-1', publicKeyOf(otherKey));
  app = register.site.createServer();
  url = await app.listen({ host: '127.0.0.1', port: 0 });
});
afterAll(async () => {
  await app.close();
  await register.close();
});

const get = (path: string, headers: Record<string, string> = {}) => app.inject({ method: 'GET', url: path, headers });
const readPublic = (path: string) => readFileSync(join(register.publicFolder, path));

/** Asks for a path as it stands, past the client's own tidying. */
function getRaw(path: string): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const { hostname, port } = new URL(url);
    httpRequest({ host: hostname, port, path }, (response) => {
      let body = '';
      response.setEncoding('latin1').on('data', (chunk) => {
        body += chunk;
      });
      response.on('end', () => resolve({ status: response.statusCode!, body }));
    })
      .on('error', reject)
      .end();
  });
}

describe('the public tree', () => {
  const served = () => [
    'checkpoint',
    'tile/0/000.p/2',
    'tile/entries/000.p/2',
    annexPath(notice.annex!.digest, false),
    'trust/1.root.json',
    'trust/timestamp.json',
    'trust/1.snapshot.json',
    'trust/1.targets.json',
    `trust/targets/${createHash('sha256').update(JSON.stringify(register.authorities)).digest('hex')}.authorities.json`,
    'nodes.json',
  ];

  it('is served byte for byte', async () => {
    for (const path of served()) {
      const answer = await get(`/${path}`);
      expect([path, answer.statusCode]).toEqual([path, 200]);
      expect(answer.rawPayload.equals(readPublic(path)), path).toBe(true);
    }
  });

  it('answers 304 to who has it, and the file to who has another', async () => {
    for (const path of served()) {
      const { etag } = (await get(`/${path}`)).headers as Record<string, string>;
      expect(etag, path).toBeTruthy();
      const again = await get(`/${path}`, { 'if-none-match': etag! });
      expect([path, again.statusCode, again.rawPayload.length]).toEqual([path, 304, 0]);
      expect((await get(`/${path}`, { 'if-none-match': '"other"' })).statusCode).toBe(200);
      expect((await get(`/${path}`, { 'if-none-match': `"other", ${etag}` })).statusCode).toBe(304);
    }
  });

  it('gives every new checkpoint another ETag, however soon it comes and however alike it is', async () => {
    const etags = new Set<unknown>();
    for (let i = 0; i < 20; i++) {
      clock.pass(1000);
      await register.cosign();
      etags.add((await get('/checkpoint')).headers.etag);
    }
    expect(etags.size).toBe(20);
  });

  it('gives a part of a file that is asked for', async () => {
    const path = annexPath(notice.annex!.digest, false);
    const part = await get(`/${path}`, { range: 'bytes=10-19' });
    expect(part.statusCode).toBe(206);
    expect(part.headers['content-range']).toBe(`bytes 10-19/${notice.annex!.bytes.length}`);
    expect(part.rawPayload.equals(notice.annex!.bytes.subarray(10, 20))).toBe(true);
    expect((await get(`/${path}`, { range: 'bytes=999999-' })).statusCode).toBe(416);
  });

  it('tells caches what never changes', async () => {
    for (const path of served()) {
      const changes = ['checkpoint', 'trust/timestamp.json', 'nodes.json'].includes(path);
      const expected = changes ? 'no-cache' : 'public, max-age=31536000, immutable';
      expect([path, (await get(`/${path}`)).headers['cache-control']]).toEqual([path, expected]);
    }
  });

  it('answers HEAD without a body', async () => {
    const answer = await app.inject({ method: 'HEAD', url: '/checkpoint' });
    expect([answer.statusCode, answer.rawPayload.length]).toEqual([200, 0]);
  });

  it.each(['/', '/tile/', '/tile', '/annex/', '/trust', '/trust/', '/receipts/', '/receipts/_days/', '/sealed'])(
    'lists no folder: %s',
    async (path) => {
      const { statusCode, body } = await get(path);
      expect(statusCode).toBeGreaterThanOrEqual(400);
      expect(body).not.toContain('root.json');
    },
  );

  it.each([
    '/../log.key',
    '/..%2flog.key',
    '/%2e%2e/log.key',
    '/tile/../../log.key',
    '/trust/..%2f..%2fheartbeat.key',
    '/trust/%2e%2e%2f%2e%2e%2flog.key',
    '//log.key',
    '/trust/....//log.key',
    '/trust/1.root.json%00.txt',
    '/trust\\..\\..\\log.key',
    '/sealed/../../log.key',
    '/log.key',
    '/secret.txt',
    '/.hidden',
    '/annex/ab/.hidden.jsonl',
    '/checkpoint.staged',
    '/link.json',
  ])('leads nowhere else: %s', async (path) => {
    writeFileSync(join(register.publicFolder, 'secret.txt'), 'secret');
    writeFileSync(join(register.publicFolder, '.hidden'), 'secret');
    writeFileSync(join(register.publicFolder, 'checkpoint.staged'), 'secret');
    mkdirSync(join(register.publicFolder, 'annex/ab'), { recursive: true });
    writeFileSync(join(register.publicFolder, 'annex/ab/.hidden.jsonl'), 'secret');
    try {
      symlinkSync(register.config.key, join(register.publicFolder, 'link.json'));
    } catch {
      // It is there from the case before.
    }
    const { status, body } = await getRaw(path);
    expect(status).toBeGreaterThanOrEqual(400);
    expect(body).not.toMatch(/secret|PRIVATE KEY/);
  });

  it('sends headers that keep a browser from doing anything with it, refusals included', async () => {
    for (const path of ['/checkpoint', '/nothing', `/${annexPath(notice.annex!.digest, false)}`, '/sealed/x']) {
      expect((await get(path)).headers).toMatchObject({
        'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
        'x-content-type-options': 'nosniff',
        'x-frame-options': 'DENY',
        'referrer-policy': 'no-referrer',
      });
    }
  });

  it.each(['PUT', 'DELETE', 'POST', 'PATCH'] as const)('takes no %s', async (method) => {
    const { statusCode } = await app.inject({ method, url: '/checkpoint', payload: 'x' });
    expect(statusCode).toBeGreaterThanOrEqual(400);
    expect(readPublic('checkpoint').toString()).toContain(register.origin);
  });
});

describe('sealed annexes', () => {
  const path = () => annexPath(sealed.annex!.digest, true);
  const authorize = (
    changes: { key?: typeof nodeKey; node?: string; origin?: string; path?: string; at?: number } = {},
  ) =>
    composeCredential(
      { licensee: LICENSEE, node: changes.node ?? 'kl-1', key: changes.key ?? nodeKey },
      changes.origin ?? register.origin,
      changes.path ?? path(),
      changes.at ?? register.nowSeconds,
    );

  it('are given to an enrolled node, and kept by no cache', async () => {
    const answer = await get(`/${path()}`, { authorization: await authorize() });
    expect(answer.statusCode).toBe(200);
    expect(answer.rawPayload.equals(sealed.annex!.bytes)).toBe(true);
    expect(answer.headers['cache-control']).toBe('no-store');
    const part = await get(`/${path()}`, { authorization: await authorize(), range: 'bytes=0-9' });
    expect([part.statusCode, part.rawPayload.length]).toEqual([206, 10]);
  });

  it.each([
    ['without a credential', async () => ({})],
    ['with another kind of credential', async () => ({ authorization: 'Basic a2w6MQ==' })],
    ['with nonsense', async () => ({ authorization: 'Bearer x.y.z' })],
    ['with an expired one', async () => ({ authorization: await authorize({ at: register.nowSeconds - 1000 }) })],
    ['with one by another key', async () => ({ authorization: await authorize({ key: otherKey }) })],
    ['with one of a node that is not enrolled', async () => ({ authorization: await authorize({ node: 'kl-9' }) })],
    ['with one for another register', async () => ({ authorization: await authorize({ origin: 'other/log' }) })],
    ['with one for another file', async () => ({ authorization: await authorize({ path: 'sealed/aa/b.jsonl' }) })],
  ])('are refused %s', async (_case, headers) => {
    const answer = await get(`/${path()}`, await headers());
    expect(answer.statusCode).toBe(401);
    expect(answer.headers['www-authenticate']).toBe('Bearer');
    expect(answer.body).not.toContain('sealed.example');
  });

  it('cannot be told from files that do not exist by who is nobody', async () => {
    const [real, missing] = [await get(`/${path()}`), await get(`/sealed/ab/${'ab'.repeat(32)}.jsonl`)];
    expect([real.statusCode, real.body]).toEqual([missing.statusCode, missing.body]);
  });

  it('that do not exist are not there for a node either', async () => {
    const missing = `sealed/ab/${'ab'.repeat(32)}.jsonl`;
    const answer = await get(`/${missing}`, { authorization: await authorize({ path: missing }) });
    expect(answer.statusCode).toBe(404);
  });

  it('open no other folder to a node', async () => {
    writeFileSync(join(register.sealedFolder, 'sealed', 'other.txt'), 'secret');
    for (const other of ['sealed/other.txt', 'sealed/../../log.key', 'sealed/ab', 'sealed/']) {
      const { status, body } = await getRaw(`/${other}`);
      expect([other, status >= 400]).toEqual([other, true]);
      expect(body).not.toMatch(/secret|PRIVATE/);
      const authorization = await authorize({ path: other });
      expect((await get(`/${other}`, { authorization })).body).not.toMatch(/secret|PRIVATE/);
    }
  });

  it('are never among the public files', async () => {
    expect((await get(`/${annexPath(sealed.annex!.digest, false)}`)).statusCode).toBe(404);
  });
});

describe('receipts', () => {
  const compose = (changes: Partial<Receipt> = {}): Receipt => ({
    version: 1,
    origin: register.origin,
    licensee: LICENSEE,
    node: 'kl-1',
    treeSize: 2,
    rootHash: 'ab'.repeat(32),
    authoritiesVersion: 1,
    rules: 3,
    rulesDigest: 'cd'.repeat(32),
    foldedAt: formatInstant(register.nowSeconds),
    appliedAt: formatInstant(register.nowSeconds),
    mode: 'enforce',
    statements: { ok: 2, void: 0 },
    rejected: [],
    refusedEntries: 0,
    ...changes,
  });
  const post = (payload: Buffer): Promise<LightMyRequestResponse> =>
    app.inject({ method: 'POST', url: '/receipts', headers: { 'content-type': 'application/json' }, payload });
  const pathOf = (receipt: Receipt) => join(register.publicFolder, receiptPath(receipt));
  const today = () => receiptListPath(formatInstant(register.nowSeconds).slice(0, 10));

  it('are kept as they came, listed for their day, and served', async () => {
    const receipt = compose();
    const bytes = signReceipt(receipt, nodeKey);
    expect((await post(bytes)).statusCode).toBe(201);
    expect(readFileSync(pathOf(receipt)).equals(bytes)).toBe(true);
    const list = await get(`/${today()}`);
    expect([list.statusCode, list.headers['cache-control']]).toEqual([200, 'no-cache']);
    expect(list.body.split('\n')).toContain(receiptPath(receipt));
    expect((await get(`/${receiptPath(receipt)}`)).rawPayload.equals(bytes)).toBe(true);
  });

  it('may be sent twice and are there once', async () => {
    const receipt = compose({ treeSize: 3 });
    const bytes = signReceipt(receipt, nodeKey);
    expect((await post(bytes)).statusCode).toBe(201);
    expect((await post(bytes)).statusCode).toBe(200);
    const lines = (await get(`/${today()}`)).body.split('\n');
    expect(lines.filter((line) => line === receiptPath(receipt))).toHaveLength(1);
  });

  it('of one moment cannot be replaced', async () => {
    const receipt = compose({ treeSize: 4 });
    const bytes = signReceipt(receipt, nodeKey);
    expect((await post(bytes)).statusCode).toBe(201);
    expect((await post(signReceipt({ ...receipt, rules: 0 }, nodeKey))).statusCode).toBe(422);
    expect(readFileSync(pathOf(receipt)).equals(bytes)).toBe(true);
  });

  it('of many nodes at a time are all listed', async () => {
    const receipts = Array.from({ length: 50 }, (_, i) => compose({ treeSize: 1000 + i }));
    const answers = await Promise.all(receipts.map((receipt) => post(signReceipt(receipt, nodeKey))));
    expect(new Set(answers.map(({ statusCode }) => statusCode))).toEqual(new Set([201]));
    const lines = new Set((await get(`/${today()}`)).body.split('\n'));
    expect(receipts.filter((receipt) => !lines.has(receiptPath(receipt)))).toEqual([]);
  });

  it.each([
    ['a bad signature', 400, () => signReceipt(compose({ treeSize: 9 }), otherKey)],
    ['an unknown node', 401, () => signReceipt(compose({ treeSize: 9, node: 'kl-9' }), nodeKey)],
    ['an unknown licensee', 401, () => signReceipt(compose({ treeSize: 9, licensee: 'X' }), nodeKey)],
    ["another licensee's name", 400, () => signReceipt(compose({ treeSize: 9, licensee: 'NSP(I)/2021/002' }), nodeKey)],
    ['another register', 400, () => signReceipt(compose({ treeSize: 9, origin: 'other/log' }), nodeKey)],
    ['a time to come', 400, () => signReceipt(compose({ treeSize: 9, appliedAt: '2099-01-01T00:00:00Z' }), nodeKey)],
    [
      'too many bytes',
      413,
      () => Buffer.concat([signReceipt(compose(), nodeKey), Buffer.alloc(RECEIPT_MAX_BYTES, ' ')]),
    ],
    ['no receipt in it', 400, () => Buffer.from('{}')],
    ['nothing in it', 400, () => Buffer.alloc(0)],
    ['a statement in it', 400, () => notice.envelope],
  ])('with %s are refused and leave nothing', async (_case, status, bytes) => {
    const before = (await get(`/${today()}`)).body;
    const answer = await post(bytes());
    expect(answer.statusCode).toBe(status);
    expect(answer.body).not.toContain('/tmp');
    expect((await get(`/${today()}`)).body).toBe(before);
  });

  it('are taken again from a node that got another key, and no more with the old one', async () => {
    const renewed = seededKey('node kl-1 renewed');
    await register.enrolNode('NSP(I)/2021/002', 'kl-1', publicKeyOf(renewed));
    const receipt = compose({ licensee: 'NSP(I)/2021/002', treeSize: 12 });
    expect((await post(signReceipt(receipt, otherKey))).statusCode).toBe(400);
    expect((await post(signReceipt(receipt, renewed))).statusCode).toBe(201);
  });
});

describe('statements', () => {
  it('signed by officers are taken from anyone, with their annex', async () => {
    const signed = register.sign({ type: 'notice', names: ['c.example'], reference: 'TEST/HTTP' });
    const size = register.size;
    const accepted = await submitStatement(url, signed.envelope, signed.annex!.bytes);
    expect(accepted).toEqual({ id: signed.id, index: size, integratedAt: formatInstant(register.nowSeconds) });
    await register.site.sequencer.flush();
    expect((await get(`/${annexPath(signed.annex!.digest, false)}`)).rawPayload.equals(signed.annex!.bytes)).toBe(true);
  });

  it('in another spelling are appended in the canonical one', async () => {
    const signed = register.sign({ type: 'halt', instrument: 'cma-263', from: 'now' });
    const spelled = Buffer.from(JSON.stringify(JSON.parse(signed.envelope.toString()), null, 2));
    expect((await submitStatement(url, spelled)).id).toBe(signed.id);
  });

  it.each([
    ['no signature', 'statement-unsigned', () => register.sign({ type: 'notice', names: ['d.example'] }, [])],
    ['the same again', 'statement-replayed', () => notice],
    [
      'no annex',
      'annex-missing',
      () => ({ ...register.sign({ type: 'notice', names: ['e.example'] }), annex: undefined }),
    ],
  ])('with %s are refused with the reason', async (_case, code, make) => {
    const { envelope, annex } = make();
    const size = register.size;
    await expect(submitStatement(url, envelope, annex?.bytes)).rejects.toMatchObject({ code });
    expect(register.size).toBe(size);
  });

  it.each([1, 8, 40])('with an annex that goes on for %i MiB are cut off, and the next one is taken', async (size) => {
    const { envelope } = register.sign({ type: 'notice', names: ['f.example'] });
    await expect(submitStatement(url, envelope, randomBytes(size << 20))).rejects.toMatchObject({
      code: 'annex-oversized',
    });
    const next = register.sign({ type: 'halt', instrument: 'cma-263', from: 'now', reference: `TEST/AFTER/${size}` });
    expect((await submitStatement(url, next.envelope)).id).toBe(next.id);
  });

  const post = (payload: Buffer, type = SUBMISSION_TYPE) =>
    app.inject({ method: 'POST', url: '/statements', headers: { 'content-type': type }, payload });

  it.each([
    ['a line without end', Buffer.alloc(200_000, 'x'), 413],
    ['nothing', Buffer.alloc(0), 422],
    ['an annex alone', Buffer.from('\nannex'), 422],
    ['HTML', Buffer.from('<html>\n'), 422],
  ])('that are %s are refused', async (_case, payload, status) => {
    expect((await post(payload)).statusCode).toBe(status);
  });

  it('of another content type are refused', async () => {
    expect((await post(notice.envelope, 'application/json')).statusCode).toBe(415);
  });

  it('sent an octet at a time hold up nobody', async () => {
    const { hostname, port } = new URL(url);
    const slow = connect(Number(port), hostname);
    slow.on('error', () => {});
    const head = `POST /statements HTTP/1.1\r\nhost: x\r\ncontent-type: ${SUBMISSION_TYPE}\r\ncontent-length: 1000\r\n\r\n`;
    slow.write(`${head}{`);
    const signed = register.sign({ type: 'notice', names: ['g.example'] });
    expect((await submitStatement(url, signed.envelope, signed.annex!.bytes)).id).toBe(signed.id);
    slow.destroy();
  });

  it('cannot be sent by more than a few at a time', async () => {
    const { hostname, port } = new URL(url);
    const head = `POST /statements HTTP/1.1\r\nhost: x\r\ncontent-type: ${SUBMISSION_TYPE}\r\ncontent-length: 1000\r\n\r\n`;
    const open = Array.from({ length: 8 }, () => connect(Number(port), hostname).on('error', () => {}));
    for (const socket of open) socket.write(`${head}{`);
    await expect
      .poll(() =>
        submitStatement(url, register.sign({ type: 'heartbeat', at: 'now' }, ['heartbeat']).envelope).catch(
          (error) => error.code,
        ),
      )
      .toBe('log-busy');
    for (const socket of open) socket.destroy();
    await expect
      .poll(() => submitStatement(url, notice.envelope).catch((error) => error.code))
      .toBe('statement-replayed');
  });
});

it('an address where no log is gives a reason', async () => {
  await expect(submitStatement('http://127.0.0.1:9/', Buffer.from('{}'))).rejects.toMatchObject({
    code: 'socket-failed',
  });
  await expect(submitStatement(`${url}/trust/`, Buffer.from('{}'))).rejects.toMatchObject({ message: 'no such file' });
});
