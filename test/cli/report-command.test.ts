import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { composeEnrolmentProof } from '../../src/control/nodes/enrolment-proof.ts';
import { publicKeyOf } from '../../src/register/key.ts';
import { ControlDesk } from '../support/control-desk.ts';
import { makeFolder } from '../support/folders.ts';
import { seededKey } from '../support/log-register.ts';
import { spawnProgram } from './run.ts';

let desk: ControlDesk;
let url: string;
let tokenFile: string;

beforeAll(async () => {
  desk = await ControlDesk.create();
  url = await desk.site.app.listen({ host: '127.0.0.1', port: 0 });
  tokenFile = join(makeFolder(), 'token');
  writeFileSync(tokenFile, `${desk.tokenOf('operator')}\n`, { mode: 0o600 });
  await desk.send('admin', 'POST', '/v1/licensees', { number: 'NSP-1', name: 'First ISP', classes: ['nsp'] });
  const { code } = (await desk.send('operator', 'POST', '/v1/enrolment-codes', { node: 'node-1' })).body;
  const key = seededKey('report node');
  const proof = composeEnrolmentProof(code, key);
  const enrolled = await desk.send(undefined, 'POST', '/v1/nodes', { code, publicKey: publicKeyOf(key), proof });
  expect(enrolled.status).toBe(201);
});

afterAll(() => desk?.close());

const report = (...words: string[]) => spawnProgram(['report', ...words, '--from', url, '--token-file', tokenFile]);

it('tells an operator how her nodes stand', async () => {
  const { exitCode, out } = await report('effect');
  expect([exitCode, out]).toEqual([0, expect.stringMatching(/First ISP \(NSP-1\).*node-1 +has sent no receipt yet/su)]);
  const json = JSON.parse((await report('effect', '--json')).out);
  expect(json.licensees).toMatchObject([{ number: 'NSP-1', nodes: [{ node: 'node-1' }] }]);
});

it.each([
  [true, '3 pages, 2 on HTTP alone'],
  [false, '3 pages, 2 on HTTP alone, and none blocked, as it sends their hosts to no gateway'],
])('tells of pages on a node that steers them: %s', async (steered, told) => {
  const appliedSeconds = Math.floor(Date.now() / 1000) + (steered ? 10 : 20);
  await desk.store.transaction((tables) =>
    tables.receipts.insert({
      ...{ id: `receipts/${steered}.json`, nodeId: 'NSP-1/node-1', licensee: 'NSP-1', treeSize: 0, mode: 'enforce' },
      ...{ appliedSeconds, receivedSeconds: appliedSeconds, foldedSeconds: appliedSeconds, rules: 4, agrees: null },
      ...{ rulesDigest: 'ab'.repeat(32), rejected: [], refusedEntries: 0 },
      pages: { entries: 3, httpOnly: 2, steered },
    }),
  );
  const { out } = await report('effect');
  expect(out).toMatch(new RegExp(`node-1 +4 rules, last heard .*; ${told}$`, 'm'));
});

it('exports compliance as JSON and as CSV, of her own ISP alone', async () => {
  const json = JSON.parse((await report('compliance', '--licensee', 'NSP-1', '--period', '2026-01..2026-06')).out);
  expect(json).toMatchObject({ licensee: { number: 'NSP-1' }, from: '2026-01', to: '2026-06' });
  const csv = await report('compliance', '--licensee', 'NSP-1', '--csv');
  expect([csv.exitCode, csv.out]).toEqual([0, expect.stringMatching(/reference/)]);
  const other = await report('compliance', '--licensee', 'NSP-2');
  expect([other.exitCode, other.err]).toEqual([1, expect.stringContaining('[forbidden]')]);
});

it('takes no token from the command line and says where to put it', async () => {
  const { exitCode, err } = await spawnProgram(['report', 'effect', '--from', url]);
  expect([exitCode, err]).toEqual([1, expect.stringContaining('WARTA_TOKEN')]);
});
