import { type AddressInfo, createServer } from 'node:net';
import { afterAll, describe, expect, it } from 'vitest';
import { createAsker, type Protocol } from '../../src/audit/dns-asker.ts';
import { findInProbe, runProbe } from '../../src/audit/probe.ts';
import { planProbe } from '../../src/audit/probe-plan.ts';
import { RRTYPE } from '../../src/dns/constants.ts';
import { formatInstant } from '../../src/register/time.ts';
import { pack } from '../register/fixture.ts';
import type { Server } from '../support/dns-client.ts';
import { makeFolder } from '../support/folders.ts';
import { hasProgram } from '../support/programs.ts';
import { startUnbound } from '../support/real-upstreams.ts';
import { RegisterFolder } from '../support/register-folder.ts';
import { startStubUpstream } from '../support/stub-upstream.ts';
import { AUTHORITIES, LICENSEE, type SignedStatement } from '../support/test-authority.ts';
import { startTestNode } from '../support/test-node.ts';
import { waitUntil } from '../support/wait.ts';
import { auditMemory } from './fixture.ts';

const closing: (() => Promise<unknown>)[] = [];
afterAll(async () => {
  for (const close of closing.reverse()) await close();
});

/** Probes a resolver against the register that these statements make. */
async function probe(
  server: Server,
  statements: readonly SignedStatement[],
  protocol: Protocol = 'udp',
  zone: (name: string) => boolean = () => true,
) {
  const leaves = statements.map(({ envelope, id }) => ({ name: id, envelope }));
  const annexes = new Map(statements.flatMap(({ annex }) => (annex ? [[annex.digest, annex.bytes] as const] : [])));
  const audit = auditMemory({ authorities: AUTHORITIES, leaves, annexes: { read: (digest) => annexes.get(digest) } });
  const nowSeconds = Math.floor(Date.now() / 1000);
  const random = (bound: number) => Math.floor(Math.random() * bound);
  const plan = planProbe(audit, { licensee: LICENSEE, nowSeconds, settleSeconds: 0, random });
  const asker = createAsker({ protocol, ...server }, 5000);
  const terms = { types: [RRTYPE.A, RRTYPE.AAAA, RRTYPE.HTTPS], concurrency: 16, perSecond: 5000 };
  const results = await runProbe(
    asker,
    plan.filter(({ name }) => zone(name)),
    terms,
  );
  await asker.close();
  const findings = findInProbe(audit, results, 'node', { licensee: LICENSEE, atSeconds: nowSeconds, pack });
  return { results, findings: new Set(findings.map(({ code, evidence }) => `${evidence.name} ${code}`)) };
}

describe('a probe of a Warta node', () => {
  it('finds nothing while the node obeys, and every difference when the node has other statements', async () => {
    const upstream = await startStubUpstream();
    const register = new RegisterFolder(makeFolder());
    const subtree = { subtree: 'bad.example', exclude: ['ok.bad.example'] };
    const first = register.notice('first', [subtree, 'www.worse.example', 'gone.example'], { reference: 'N/1' });
    const second = register.notice('second', [{ subtree: 'second.example' }], { reference: 'N/2' });
    const target = { notice: first.id, entries: ['e0000003'] };
    const revocation = register.publish('revocation', { type: 'revocation', ...target, from: 'now' });
    const node = await startTestNode({ register, upstreams: [upstream] });
    closing.push(
      () => node.stop(),
      () => upstream.close(),
    );
    const statements = [first, second, revocation];
    for (const protocol of ['udp', 'tcp'] as const) {
      const { findings, results } = await probe(node.server, statements, protocol);
      expect([...findings]).toEqual([]);
      const blocked = results.filter(({ verdict }) => verdict.kind === 'blocked').map(({ asked }) => asked.name);
      expect(new Set(blocked)).toContain('second.example');
      expect(blocked).toHaveLength(3 * 5);
    }
    register.withdraw('second');
    register.withdraw('revocation');
    register.notice('third', [{ subtree: 'ok.bad.example' }], { reference: 'N/3' });
    await node.follow();
    const { findings } = await probe(node.server, statements);
    const stable = [...findings].filter((line) => !line.startsWith('warta-probe'));
    expect(stable.sort()).toEqual([
      'gone.example released-applied',
      'ok.bad.example scope-wider',
      'second.example under-blocked',
    ]);
    expect(findings.size).toBe(stable.length + 2);
  });
});

describe('a probe of a Warta node for redirects and pages', () => {
  it('finds nothing where it leads to a gateway, and pages alone while it cannot', async () => {
    const upstream = await startStubUpstream();
    const door = createServer((socket) => socket.destroy());
    await new Promise<void>((resolve) => door.listen(0, '127.0.0.1', resolve));
    const { port } = door.address() as AddressInfo;
    const register = new RegisterFolder(makeFolder());
    const names = [
      { subtree: 'lead.example', exclude: ['ok.lead.example'], action: 'redirect' },
      { exact: 'one.lead.test', action: 'redirect' },
      { url: 'http://paged.example/listed' },
      'whole.example',
    ];
    const at = formatInstant(Math.floor(Date.now() / 1000) - 60);
    const begun = {
      ...{ signedAt: at, dates: { made: at, approved: at, effectiveFrom: at } },
      approvals: [{ officer: 'one', role: 'approving-officer', at }],
    };
    const notice = register.notice('first', names, { ...begun, reference: 'P/1' });
    // Nobody is steered for its page yet.
    const fresh = register.notice('fresh', [{ url: 'http://fresh.example/' }], { reference: 'P/2' });
    const gateway = { addresses: ['127.0.0.1'], checkPorts: [port], intervalMillis: 100 };
    const node = await startTestNode({ register, upstreams: [upstream], resolver: { gateway } });
    closing.push(
      () => node.stop(),
      () => upstream.close(),
    );
    const answered = async () => {
      const { results, findings } = await probe(node.server, [notice, fresh]);
      const forged = results.filter(({ verdict }) => verdict.code === 4).map(({ asked }) => asked.name);
      return {
        findings: [...findings],
        forged: [...new Set(forged.filter((name) => !name.startsWith('warta-probe')))],
      };
    };
    await waitUntil('the gateway is seen', async () => (await answered()).forged.length > 0);
    expect(await answered()).toEqual({ findings: [], forged: ['lead.example', 'one.lead.test', 'paged.example'] });
    await new Promise((resolve) => door.close(resolve));
    await waitUntil('the gateway is missed', async () => (await answered()).forged.length === 0);
    expect((await answered()).findings).toEqual(['paged.example not-steered']);
  });
});

describe.skipIf(!hasProgram('unbound'))('a probe of Unbound', () => {
  it('finds that it blocks nothing, and what it denies without a reason', async () => {
    const unbound = await startUnbound({ server: '  local-zone: "txt.real.test." always_nxdomain' });
    closing.push(() => unbound.program.stop());
    const register = new RegisterFolder(makeFolder());
    const names = ['www.real.test', { subtree: 'txt.real.test' }, { subtree: 'deep.blocked.test' }];
    // It has no way to the Internet: only what it serves itself can be asked for.
    const own = (name: string) => /\.(real|blocked)\.test$/.test(name);
    const { findings } = await probe(unbound, [register.notice('first', names)], 'udp', own);
    const stable = [...findings].filter((line) => !line.startsWith('warta-probe'));
    expect(stable).toEqual(
      expect.arrayContaining([
        'www.real.test under-blocked',
        'txt.real.test unproven',
        'deep.blocked.test under-blocked',
      ]),
    );
    expect(stable.every((line) => /under-blocked|unproven/.test(line))).toBe(true);
  });
});
