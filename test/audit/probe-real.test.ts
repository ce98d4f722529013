import { afterAll, describe, expect, it } from 'vitest';
import { createAsker, type Protocol } from '../../src/audit/dns-asker.ts';
import { findInProbe, runProbe } from '../../src/audit/probe.ts';
import { planProbe } from '../../src/audit/probe-plan.ts';
import { RRTYPE } from '../../src/dns/constants.ts';
import { pack } from '../register/fixture.ts';
import type { Server } from '../support/dns-client.ts';
import { makeFolder } from '../support/folders.ts';
import { hasProgram } from '../support/programs.ts';
import { startUnbound } from '../support/real-upstreams.ts';
import { RegisterFolder } from '../support/register-folder.ts';
import { startStubUpstream } from '../support/stub-upstream.ts';
import { AUTHORITIES, LICENSEE, type SignedStatement } from '../support/test-authority.ts';
import { startTestNode } from '../support/test-node.ts';
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
