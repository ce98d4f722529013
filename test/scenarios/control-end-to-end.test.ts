import { sign } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { NODE_KEY_FILE } from '../../src/cli/follow-register.ts';
import { composeEnrolmentProof } from '../../src/control/nodes/enrolment-proof.ts';
import { composePreAuthentication, PAYLOAD_TYPE } from '../../src/register/envelope.ts';
import { createKey, publicKeyOf, readPrivateKey, writePrivateKey } from '../../src/register/key.ts';
import { ControlDesk } from '../support/control-desk.ts';
import { COMPLETE_NOTICE } from '../support/control-files.ts';
import { dig } from '../support/dig.ts';
import { officerKey } from '../support/log-register.ts';
import { startPostgres, type TestPostgres } from '../support/postgres.ts';
import { findProgram } from '../support/programs.ts';
import { type StubUpstream, startStubUpstream } from '../support/stub-upstream.ts';
import { NodeSite, type TestNode } from '../support/test-node.ts';
import { waitUntil } from '../support/wait.ts';

const ISPS = ['ISP-A', 'ISP-B'] as const;
type Isp = (typeof ISPS)[number];

const NAMES = Array.from({ length: 40 }, (_, i) => `fund${i}.scam.example`);
const NEVER = ['cdn.jsdelivr.net', 'com.my', 'www.maybank2u.com.my'];

const NOTICE = { reference: 'E2E/2026/1', ...COMPLETE_NOTICE };

let postgres: TestPostgres | undefined;
let upstream: StubUpstream;

beforeAll(async () => {
  postgres = await startPostgres();
  upstream = await startStubUpstream();
});

afterAll(async () => {
  await upstream?.close();
  await postgres?.stop();
});

describe.each(['sqlite', 'postgresql'] as const)('from a draft to a release, on %s', (engine) => {
  let desk: ControlDesk;
  let url: string;
  const sites = new Map<Isp, NodeSite>();
  const nodes = new Map<Isp, TestNode>();
  let notice: string;
  let statementId: string;

  beforeAll(async () => {
    const database = engine === 'postgresql' ? await postgres!.createDatabase() : undefined;
    desk = await ControlDesk.create({ database });
    url = `${await desk.site.app.listen({ host: '127.0.0.1', port: 0 })}/`;
    for (const isp of ISPS) await startIsp(isp);
  });

  afterAll(async () => {
    for (const node of nodes.values()) await node.stop();
    await desk?.close();
  });

  /** Enrols and starts the resolver of an ISP. */
  async function startIsp(isp: Isp): Promise<void> {
    const site = await NodeSite.prepare({ upstreams: [upstream] });
    site.config.register = {
      ...desk.register.nodeConfig([url]),
      ...{ licensee: isp, node: 'node-1', sealed: url, receipts: `${url}receipts` },
    };
    const state = site.config.state!;
    mkdirSync(state, { recursive: true });
    writePrivateKey(join(state, NODE_KEY_FILE), createKey().privatePem);
    const key = readPrivateKey(join(state, NODE_KEY_FILE));
    await call('admin', 'POST', '/v1/licensees', { number: isp, name: isp, classes: ['nsp'] });
    const { code } = await call('admin', 'POST', '/v1/enrolment-codes', { licensee: isp, node: 'node-1' });
    const proof = composeEnrolmentProof(code, key);
    await call(undefined, 'POST', '/v1/nodes', { code, publicKey: publicKeyOf(key), proof });
    sites.set(isp, site);
    nodes.set(isp, await site.startHere());
  }

  /** Sends a request that must succeed. */
  async function call(
    who: string | undefined,
    method: 'GET' | 'POST' | 'PUT',
    path: string,
    body?: unknown,
    // biome-ignore lint/suspicious/noExplicitAny: its form depends on the route
  ): Promise<any> {
    const headers: Record<string, string> = {};
    if (/\/(entries|approve)$/.test(path)) {
      const { etag } = (await desk.send(who, 'GET', path.replace(/\/\w+$/, ''))).headers;
      headers['if-match'] = String(etag);
    }
    if (method === 'PUT') headers['content-type'] = 'text/plain';
    const answer = await desk.send(who, method, path, body, headers);
    expect([path, answer.status < 300, answer.body]).toEqual([path, true, answer.body]);
    return answer.body;
  }

  /** Signs a draft's payload with officers' keys, off the server, and hands the signatures in. */
  async function signAs(collection: string, id: string, officers: readonly string[]): Promise<void> {
    const path = `/v1/${collection}/${id}`;
    const { body } = await desk.send('one', 'GET', `${path}/payload`);
    const payload = Buffer.from(typeof body === 'string' ? body : JSON.stringify(body));
    const signed = composePreAuthentication(PAYLOAD_TYPE, payload);
    for (const keyid of officers) {
      const sig = sign(null, signed, officerKey(keyid)).toString('base64');
      await call(keyid, 'POST', `${path}/signatures`, { keyid, sig });
    }
  }

  /** Publishes a signed draft and waits until both resolvers enforce the register as it is then, and have said so. */
  async function publish(collection: string, id: string): Promise<{ statementId: string; leafIndex: number }> {
    const path = `/v1/${collection}/${id}`;
    await call('one', 'POST', `${path}/publish`);
    const published = await waitUntil(`${collection}/${id} is published`, async () => {
      const draft = await call('one', 'GET', path);
      expect(draft.refusal).toBeNull();
      return draft.state === 'published' ? draft : undefined;
    });
    for (const isp of ISPS) {
      await waitUntil(`${isp} has leaf ${published.leafIndex}`, async () => {
        await nodes.get(isp)!.follow();
        const { items } = await call('auditor', 'GET', `/v1/receipts?licensee=${isp}&limit=200`);
        return items.some((one: { treeSize: number }) => one.treeSize > published.leafIndex);
      });
    }
    return published;
  }

  /** Drafts a release as someone who may sign it alone, signs and publishes it. */
  async function release(who: string, collection: string, draft: object): Promise<string> {
    const { id } = await call(who, 'POST', `/v1/${collection}`, draft);
    return carryOut(who, collection, id);
  }

  async function carryOut(who: string, collection: string, id: string): Promise<string> {
    const proposed = await call(who, 'POST', `/v1/${collection}/${id}/propose`);
    expect(proposed.state).toBe('approved');
    await signAs(collection, id, [who]);
    return (await publish(collection, id)).statementId;
  }

  /** What dig says of a name at an ISP: `blocked`, or the RCODE. */
  async function look(isp: Isp, name: string): Promise<string | undefined> {
    const { status, ede } = await dig(sites.get(isp)!.server, name);
    return ede?.includes('E2E/2026/1') ? 'blocked' : status;
  }

  it.runIf(findProgram('dig') !== undefined)('resolves every name at first', async () => {
    for (const isp of ISPS) expect(await look(isp, NAMES[0]!)).toBe('NOERROR');
  });

  it('refuses a CDN, a public suffix and a protected name', async () => {
    ({ id: notice } = await call('drafter', 'POST', '/v1/notices', NOTICE));
    await call('drafter', 'PUT', `/v1/notices/${notice}/entries`, [...NAMES, ...NEVER].join('\n'));
    const { findings } = await call('drafter', 'POST', `/v1/notices/${notice}/preflight`);
    const refused = findings.filter((one: { level: string }) => one.level === 'refuse');
    const { items } = await call('drafter', 'GET', `/v1/notices/${notice}/entries?limit=200`);
    const named = (id: string) => items.find((one: { id: string }) => one.id === id)?.canonical;
    const ids: string[] = refused.flatMap((one: { entries: string[] }) => one.entries);
    expect(ids.map(named).sort()).toEqual([...NEVER].sort());
    const proposed = await desk.send('drafter', 'POST', `/v1/notices/${notice}/propose`);
    expect(proposed).toMatchObject({ status: 422, body: { code: 'preflight-refused' } });
  });

  it('is corrected, approved by another officer, and signed by two keys', async () => {
    await call('drafter', 'PUT', `/v1/notices/${notice}/entries`, NAMES.join('\n'));
    await call('drafter', 'POST', `/v1/notices/${notice}/propose`);
    const own = await desk.send('drafter', 'POST', `/v1/notices/${notice}/approve`);
    expect(own).toMatchObject({ status: 403 });
    await call('one', 'POST', `/v1/notices/${notice}/approve`);
    await signAs('notices', notice, ['one', 'two']);
  });

  it('is enforced by both ISPs, whose receipts say so', async () => {
    ({ statementId } = await publish('notices', notice));
    for (const isp of ISPS) {
      expect(await look(isp, NAMES[0]!)).toBe('blocked');
      expect(await look(isp, NAMES[39]!)).toBe('blocked');
      expect(await look(isp, 'other.scam.example')).toBe('NOERROR');
    }
    const effect = await call('auditor', 'GET', `/v1/effect/statements/${statementId}`);
    const applied = effect.nodes.filter((one: { appliedAt?: string }) => one.appliedAt !== undefined);
    expect(applied.map((one: { licensee: string }) => one.licensee).sort()).toEqual([...ISPS]);
  });

  it('frees one ISP that was exempted, and no other', async () => {
    await release('one', 'exemptions', {
      reference: 'E2E/2026/2',
      reasons: { public: 'A laboratory of the police studies these sites.' },
      licensee: 'ISP-B',
      scope: { notice: statementId },
      from: 'now',
      until: '30d',
      conditions: 'For the laboratory alone.',
      request: { reference: 'ISP-B/77', receivedAt: 'now' },
    });
    expect(await look('ISP-B', NAMES[0]!)).toBe('NOERROR');
    expect(await look('ISP-A', NAMES[0]!)).toBe('blocked');
  });

  it('is appealed, stayed for one entry, overturned, revoked, and resolves again', async () => {
    const filing = { notice: statementId, entries: [NAMES[0]], standing: 'owner', grounds: 'This shop is lawful.' };
    const { reference } = await call(undefined, 'POST', '/v1/appeals', filing);
    const appeal = `/v1/appeals/${reference}`;
    for (const officer of ['one', 'two']) {
      // An officer who approved or signed is not a reviewer, and would be refused if she were.
      expect((await desk.send(officer, 'POST', `${appeal}/assess`, {})).status).toBe(403);
    }
    await call('reviewer', 'POST', `${appeal}/acknowledge`, {});
    await call('reviewer', 'POST', `${appeal}/assess`, {});
    await call('reviewer', 'POST', `${appeal}/stay`, { reasons: 'Serious doubt about this entry.' });
    const drafts = async () => (await call('reviewer', 'GET', appeal)).statements;
    const [stay] = await drafts();
    await carryOut('reviewer', 'stays', stay.draft.id);
    expect(await look('ISP-A', NAMES[0]!)).toBe('NOERROR');
    expect(await look('ISP-A', NAMES[1]!)).toBe('blocked');

    await call('reviewer', 'POST', `${appeal}/decide`, {
      outcome: 'overturned',
      reasons: 'It is lawful.',
      whole: true,
    });
    const revocation = (await drafts()).find((one: { type: string }) => one.type === 'revocation');
    const revoked = await carryOut('reviewer', 'revocations', revocation.draft.id);
    for (const isp of ISPS) {
      expect(await look(isp, NAMES[0]!)).toBe('NOERROR');
      expect(await look(isp, NAMES[1]!)).toBe('NOERROR');
    }
    const effect = await call('auditor', 'GET', `/v1/effect/statements/${revoked}`);
    expect(effect.nodes.every((one: { appliedAt?: string }) => one.appliedAt !== undefined)).toBe(true);

    const shown = await call(undefined, 'GET', `/v1/register/notices/${statementId}`);
    expect(shown.standing.state).toBe('revoked');
    expect(JSON.stringify(shown)).toContain(reference);
    expect(JSON.stringify(shown)).not.toContain('This shop is lawful');
  });
});
