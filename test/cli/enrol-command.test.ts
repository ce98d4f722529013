import { mkdirSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { verifyEnrolmentProof } from '../../src/control/nodes/enrolment-proof.ts';
import { publicKeyOf, readPrivateKey } from '../../src/register/key.ts';
import { makeFolder } from '../support/folders.ts';
import { PACK_FILE } from '../support/test-authority.ts';
import { spawnProgram } from './run.ts';

let server: Server;
let url: string;
let file: string;
let state: string;
let requests: { path: string | undefined; body: Record<string, string> }[];
let answer: { status: number; body: string };

beforeEach(async () => {
  requests = [];
  answer = { status: 201, body: '{}' };
  server = createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    requests.push({ path: request.url, body: JSON.parse(body) });
    response.writeHead(answer.status, { 'content-type': 'application/json' }).end(answer.body);
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const folder = makeFolder();
  file = join(folder, 'warta.yaml');
  state = join(folder, 'state');
  mkdirSync(state);
  const register = {
    licensee: 'NSP(I)/1',
    node: 'kl-1',
    policyPack: PACK_FILE,
    mirrors: ['http://x/'],
    root: 'root.json',
  };
  const resolver = { listen: ['127.0.0.1:53'], upstreams: ['127.0.0.1:5300'] };
  writeFileSync(file, stringify({ state, resolver, register }));
});
afterEach(() => new Promise((done) => server.close(done)));

const enrol = (...more: string[]) =>
  spawnProgram(['resolver', 'enrol', '-c', file, '--to', url, '--code', 'enrol-abc', ...more]);

describe('warta resolver enrol', () => {
  it('makes a key, proves to have it, and keeps it', async () => {
    const { exitCode, out } = await enrol('--json');
    expect(exitCode).toBe(0);
    const publicKey = publicKeyOf(readPrivateKey(join(state, 'node-key.pem')));
    expect(JSON.parse(out)).toEqual({ licensee: 'NSP(I)/1', node: 'kl-1', publicKey });
    const [{ path, body }] = requests as [(typeof requests)[number]];
    expect(path).toBe('/v1/nodes');
    const { proof, ...rest } = body;
    expect(rest).toEqual({ code: 'enrol-abc', publicKey, licensee: 'NSP(I)/1', node: 'kl-1' });
    expect(() => verifyEnrolmentProof('enrol-abc', publicKey, proof!)).not.toThrow();
    expect((await enrol()).out).toContain('enrolled NSP(I)/1/kl-1');
    expect(requests[1]?.body.publicKey).toBe(publicKey);
  });

  it.each([
    [403, '{"code":"enrolment-invalid","detail":"the code is used"}', 'the code is used'],
    [502, 'Bad gateway', 'answered 502'],
    [500, 'null', 'answered 500'],
  ])('tells why when the register answers %s %s', async (status, body, reason) => {
    answer = { status, body };
    const outcome = await enrol();
    expect(outcome.exitCode).toBe(1);
    expect(outcome.err).toContain(reason);
  });
});
