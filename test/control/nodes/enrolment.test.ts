import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { composeEnrolmentProof } from '../../../src/control/nodes/enrolment-proof.ts';
import { publicKeyOf } from '../../../src/register/key.ts';
import { type Receipt, signReceipt } from '../../../src/register/receipt.ts';
import { formatInstant } from '../../../src/register/time.ts';
import { composeCredential } from '../../../src/sync/node-identity.ts';
import { FakeClock } from '../../base/fake-clock.ts';
import { ControlDesk } from '../../support/control-desk.ts';
import { seededKey } from '../../support/log-register.ts';
import { waitUntil } from '../../support/wait.ts';

const DAY = 86_400;
const key = seededKey('node kl-1');
const publicKey = publicKeyOf(key);
const otherKey = seededKey('node kl-2');
/** Metadata that outlasts every test. */
const termDays = { root: 3650, targets: 3650, snapshot: 3650, timestamp: 3650 };

let clock: FakeClock;
let desk: ControlDesk;

beforeEach(async () => {
  clock = new FakeClock();
  desk = await ControlDesk.create({ clock, termDays });
  for (const number of ['NSP-1', 'NSP-2']) {
    await desk.send('admin', 'POST', '/v1/licensees', { number, name: `ISP ${number}`, classes: ['nsp'] });
  }
});
afterEach(() => desk.close());

const makeCode = (user: string, body: object) => desk.send(user, 'POST', '/v1/enrolment-codes', body);
const enrol = (code: string, changes: object = {}) =>
  desk.send(undefined, 'POST', '/v1/nodes', { code, publicKey, proof: composeEnrolmentProof(code, key), ...changes });
const revoke = (user: string, path: string) =>
  desk.send(user, 'POST', `/v1/nodes/${path}/revoke`, { reason: 'It was sold.' });
const listed = () => JSON.parse(readFileSync(join(desk.register.publicFolder, 'nodes.json'), 'utf8'));
const waitForList = (length: number) =>
  waitUntil('nodes.json is published', () => {
    try {
      return listed().length === length;
    } catch {
      return false;
    }
  });

async function enrolKl1(): Promise<void> {
  const { body } = await makeCode('operator', { node: 'kl-1' });
  expect((await enrol(body.code)).status).toBe(201);
  await waitForList(1);
}

function sendReceipt(treeSize: number, signer = key) {
  const now = formatInstant(desk.register.nowSeconds);
  const receipt: Receipt = {
    ...{ version: 1, origin: desk.register.origin, licensee: 'NSP-1', node: 'kl-1', treeSize },
    ...{ rootHash: 'ab'.repeat(32), authoritiesVersion: 1, rules: 0, rulesDigest: 'cd'.repeat(32) },
    ...{ foldedAt: now, appliedAt: now, mode: 'enforce', statements: { ok: 0, void: 0 }, rejected: [] },
    refusedEntries: 0,
  };
  return desk.send(undefined, 'POST', '/receipts', signReceipt(receipt, signer), {
    'content-type': 'application/octet-stream',
  });
}

describe('a licensee', () => {
  it('is added and changed by an administrator', async () => {
    const shown = await desk.send('operator', 'GET', '/v1/licensees/NSP-1');
    expect(shown.body).toMatchObject({ number: 'NSP-1', name: 'ISP NSP-1', classes: ['nsp'], version: 1 });
    expect(shown.headers.etag).toBe('"1"');
    const patch = (headers: Record<string, string>) =>
      desk.send('admin', 'PATCH', '/v1/licensees/NSP-1', { name: 'New name' }, headers);
    expect((await patch({})).body.code).toBe('version-required');
    expect((await patch({ 'if-match': '"9"' })).body.code).toBe('version-mismatch');
    expect((await patch({ 'if-match': '"1"' })).body).toMatchObject({ name: 'New name', version: 2 });
    const again = await desk.send('admin', 'POST', '/v1/licensees', { number: 'NSP-1', name: 'x' });
    expect([again.status, again.body.code]).toEqual([409, 'conflict']);
  });

  it('has a number with slashes and brackets if that is its number', async () => {
    const number = 'NSP(I)/2021/001';
    expect((await desk.send('admin', 'POST', '/v1/licensees', { number, name: 'x' })).status).toBe(201);
    const shown = await desk.send('admin', 'GET', `/v1/licensees/${encodeURIComponent(number)}`);
    expect(shown.body.number).toBe(number);
  });

  it('sees itself and no other', async () => {
    expect((await desk.send('operator', 'GET', '/v1/licensees')).body.items).toMatchObject([{ number: 'NSP-1' }]);
    expect((await desk.send('admin', 'GET', '/v1/licensees')).body.items).toHaveLength(2);
    expect((await desk.send('operator', 'GET', '/v1/licensees/NSP-2')).status).toBe(403);
  });

  it('comes in pages', async () => {
    const first = await desk.send('auditor', 'GET', '/v1/licensees?limit=1');
    expect(first.body.items).toMatchObject([{ number: 'NSP-1' }]);
    const second = await desk.send('auditor', 'GET', `/v1/licensees?limit=1&cursor=${first.body.next}`);
    expect(second.body).toMatchObject({ items: [{ number: 'NSP-2' }] });
    expect(second.body.next).toBeUndefined();
  });
});

describe('a code', () => {
  it('is of the operator’s own ISP, and of any for an administrator', async () => {
    const own = await makeCode('operator', { node: 'kl-1', validHours: 1 });
    expect(own.status).toBe(201);
    expect(own.body).toMatchObject({
      licensee: 'NSP-1',
      node: 'kl-1',
      expiresAt: formatInstant(desk.register.nowSeconds + 3600),
    });
    expect(own.body.code.length).toBeGreaterThan(30);
    expect((await makeCode('operator', { licensee: 'NSP-2', node: 'kl-1' })).status).toBe(403);
    expect((await makeCode('admin', { licensee: 'NSP-2', node: 'kl-1' })).status).toBe(201);
    expect((await makeCode('admin', { node: 'kl-1' })).body.code).toBe('request-invalid');
    expect((await makeCode('admin', { licensee: 'NSP-9', node: 'kl-1' })).status).toBe(404);
    expect((await makeCode('operator', { node: 'kl-1', validHours: 24 * 7 + 1 })).status).toBe(400);
  });

  it('is kept as a hash', async () => {
    const { body } = await makeCode('operator', { node: 'kl-1' });
    const records = await desk.store.read((tables) => tables.enrolmentCodes.list({ limit: 10 }));
    expect(records).toHaveLength(1);
    expect(JSON.stringify(records)).not.toContain(body.code);
    expect(records[0]).toMatchObject({ createdBy: 'operator', usedSeconds: null });
  });

  it('enrols one node, once', async () => {
    const { body } = await makeCode('operator', { node: 'kl-1' });
    const enrolled = await enrol(body.code);
    expect(enrolled.status).toBe(201);
    expect(enrolled.body).toMatchObject({
      ...{ licensee: 'NSP-1', node: 'kl-1', publicKey, state: 'enrolled', enrolledBy: 'operator' },
      origin: desk.register.origin,
    });
    await waitForList(1);
    expect(listed()).toEqual([{ licensee: 'NSP-1', node: 'kl-1', publicKey }]);
    const again = await enrol(body.code);
    expect([again.status, again.body.code]).toEqual([403, 'enrolment-invalid']);
  });

  it.each<[string, (code: string) => object]>([
    ['a proof by another key', (code) => ({ proof: composeEnrolmentProof(code, otherKey) })],
    ['a proof of another code', () => ({ proof: composeEnrolmentProof('enrol-other', key) })],
    ['another public key', () => ({ publicKey: publicKeyOf(otherKey) })],
    ['a key that is none', () => ({ publicKey: Buffer.alloc(32, 255).toString('base64') })],
    ['a node that takes itself for another', () => ({ node: 'kl-2' })],
    ['a node of another ISP', () => ({ licensee: 'NSP-2' })],
    ['a code that nobody gave', () => ({ code: 'enrol-guess', proof: composeEnrolmentProof('enrol-guess', key) })],
  ])('does not enrol with %s, and is still good then', async (_, change) => {
    const { body } = await makeCode('operator', { node: 'kl-1' });
    const refused = await enrol(body.code, change(body.code));
    expect([refused.status, refused.body.code]).toEqual([403, 'enrolment-invalid']);
    expect((await desk.send('admin', 'GET', '/v1/nodes')).body.items).toEqual([]);
    expect((await enrol(body.code)).status).toBe(201);
  });

  it('is of no use when it is too old', async () => {
    const { body } = await makeCode('operator', { node: 'kl-1', validHours: 2 });
    clock.pass(2 * 3600 * 1000);
    expect((await enrol(body.code)).body.code).toBe('enrolment-invalid');
  });

  it('gives a node that is there a new key, and takes no key of another', async () => {
    await enrolKl1();
    const second = await makeCode('operator', { node: 'kl-1' });
    const newKey = { publicKey: publicKeyOf(otherKey), proof: composeEnrolmentProof(second.body.code, otherKey) };
    expect((await enrol(second.body.code, newKey)).body).toMatchObject({
      publicKey: publicKeyOf(otherKey),
      version: 2,
    });
    await waitUntil('the new key is published', () => listed()[0]?.publicKey === publicKeyOf(otherKey));
    const third = await makeCode('operator', { node: 'kl-2' });
    const sameKey = { publicKey: publicKeyOf(otherKey), proof: composeEnrolmentProof(third.body.code, otherKey) };
    expect((await enrol(third.body.code, sameKey)).body.code).toBe('enrolment-invalid');
  });

  it('leaves a trace in the trail of changes', async () => {
    await enrolKl1();
    const records = await desk.store.read((tables) => tables.audit.list({ subject: 'nodes/NSP-1/kl-1', limit: 10 }));
    expect(records).toMatchObject([{ actor: 'public', action: 'POST /v1/nodes', reason: 'code of operator' }]);
  });
});

describe('a node', () => {
  it('is shown to its own operator', async () => {
    await enrolKl1();
    const other = await makeCode('admin', { licensee: 'NSP-2', node: 'pg-1' });
    const otherProof = { publicKey: publicKeyOf(otherKey), proof: composeEnrolmentProof(other.body.code, otherKey) };
    expect((await enrol(other.body.code, otherProof)).status).toBe(201);
    const names = async (user: string, query = '') =>
      (await desk.send(user, 'GET', `/v1/nodes${query}`)).body.items?.map(({ node }: { node: string }) => node);
    expect(await names('operator')).toEqual(['kl-1']);
    expect(await names('admin')).toEqual(['kl-1', 'pg-1']);
    expect(await names('auditor', '?licensee=NSP-2')).toEqual(['pg-1']);
    expect((await desk.send('operator', 'GET', '/v1/nodes?licensee=NSP-2')).status).toBe(403);
    expect((await desk.send('operator', 'GET', '/v1/nodes/NSP-2/pg-1')).status).toBe(403);
    expect((await desk.send('operator', 'GET', '/v1/nodes/NSP-1/kl-1')).body.node).toBe('kl-1');
    expect((await desk.send('operator', 'GET', '/v1/nodes/NSP-1/kl-9')).status).toBe(404);
    expect((await revoke('operator', 'NSP-2/pg-1')).status).toBe(403);
  });

  it('that is revoked sends no receipts and gets no sealed annex', async () => {
    const { annex } = desk.register.sign({ type: 'notice', names: ['s.example'], category: 'csam', sealed: true });
    await desk.register.storeAnnex(annex!.digest, annex!.bytes, true);
    const path = `sealed/${annex!.digest.slice(0, 2)}/${annex!.digest}.jsonl`;
    const identity = { licensee: 'NSP-1', node: 'kl-1', key };
    const ask = async () => {
      const authorization = await composeCredential(identity, desk.register.origin, path, desk.register.nowSeconds);
      return desk.send(undefined, 'GET', `/${path}`, undefined, { authorization });
    };
    expect((await sendReceipt(0)).status).toBe(401);
    await enrolKl1();
    expect((await sendReceipt(0)).status).toBe(201);
    expect((await ask()).status).toBe(200);
    const revoked = await revoke('operator', 'NSP-1/kl-1');
    expect(revoked.body).toMatchObject({ state: 'revoked', version: 2 });
    await waitForList(0);
    clock.pass(1000);
    expect((await sendReceipt(1)).body.code).toBe('credential-invalid');
    expect((await ask()).status).toBe(401);
    expect((await revoke('operator', 'NSP-1/kl-1')).body.code).toBe('conflict');
    expect((await revoke('admin', 'NSP-1/kl-9')).status).toBe(404);
    clock.pass(8 * DAY * 1000);
    const { body } = await makeCode('operator', { node: 'kl-1' });
    expect((await enrol(body.code)).body).toMatchObject({ state: 'enrolled' });
    await waitForList(1);
    expect((await sendReceipt(1)).status).toBe(201);
  });
});
