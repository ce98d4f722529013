import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { beforeAll, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { NODE_KEY_FILE } from '../../src/cli/follow-register.ts';
import { formatInstant } from '../../src/register/time.ts';
import { RawClient } from '../gateway/fixture.ts';
import { makeFolder } from '../support/folders.ts';
import { LogRegister } from '../support/log-register.ts';
import { startWarta } from '../support/test-node.ts';
import { waitUntil } from '../support/wait.ts';
import { GatewaySite, type Internet, startInternet } from './gateway-site.ts';

const PAGE = 'http://host.example/page';
const OTHER = 'http://host.example/other';
const nowSeconds = () => Math.floor(Date.now() / 1000);

let internet: Internet;
let site: GatewaySite;

beforeAll(async () => {
  internet = await startInternet();
});

beforeEach(async () => {
  site = await GatewaySite.prepare(internet);
});

/** The value of a field of an answer. */
function fieldOf(answer: string, name: string): string | undefined {
  return new RegExp(`^${name}: (.*)$`, 'im').exec(answer)?.[1]?.trim();
}

describe('a gateway that follows the register', () => {
  it('answers a listed page with 451 in the language of whoever asks, and passes the rest of its host on', async () => {
    site.register.notice('1', [{ url: PAGE }], { reference: 'TEST/URL/1' });
    await site.startHere();
    const answer = await site.get(PAGE, { 'Accept-Language': 'ms-MY, en;q=0.5' });
    expect(answer).toMatch(/^HTTP\/1\.1 451 /);
    expect(fieldOf(answer, 'Link')).toBe('<https://isp.example/blocking>; rel="blocked-by"');
    expect(fieldOf(answer, 'Content-Language')).toBe('ms');
    expect(fieldOf(answer, 'Cache-Control')).toBe('max-age=300');
    const page = Buffer.from(answer, 'latin1').toString();
    expect(page).toContain('Akses disekat');
    for (const said of ['TEST/URL/1', 'Test authority', 'Contoh Net', '263(2)', 'Penipuan dalam talian', PAGE]) {
      expect(page).toContain(said);
    }
    expect(page).toContain('Communications and Multimedia Act 1998');
    expect(page).toContain('mailto:appeals@authority.example');
    expect(await site.outcome(OTHER)).toBe('200 origin: /other');
    expect(await site.outcome('http://foreign.example/page')).toBe('421');
  });

  it('obeys what entries say of the query, of the whole host, and of HTTPS', async () => {
    site.register.notice('1', [{ url: `${PAGE}?id=1` }, { url: 'http://any.example/x', query: 'any' }]);
    site.register.notice('2', [{ url: 'http://closed.example/x' }], { https: 'block-host', reference: 'TEST/2' });
    site.register.notice('3', [{ subtree: 'led.example', action: 'redirect' }], { reference: 'TEST/3' });
    await site.startHere();
    expect(await site.outcome(`${PAGE}?id=1`)).toBe('451');
    expect(await site.outcome(`${PAGE}?id=2`)).toBe('200 origin: /page?id=2');
    expect(await site.outcome('http://any.example/x?whatever')).toBe('451');
    expect(await site.outcome('http://www.led.example/any/page')).toBe('451');
    expect(await site.outcome('http://closed.example/y')).toBe('200 origin: /y');
    expect(await site.reachesSecurely('closed.example')).toBe(false);
    expect(await site.reachesSecurely('led.example')).toBe(false);
    expect(await site.reachesSecurely('foreign.example')).toBe(false);
    expect(await site.reachesSecurely('host.example')).toBe(true);
    const metrics = await site.ask('/metrics');
    expect(metrics).toContain('warta_listed_pages{https="closed"} 1\n');
    expect(metrics).toContain('warta_listed_pages{https="passed"} 2\n');
    expect(metrics).toContain('warta_gateway_unenforceable_total 1\n');
  });

  it('passes a page after the next look when its notice is revoked', async () => {
    const notice = site.register.notice('1', [{ url: PAGE }, { url: 'http://host.example/second' }]);
    const node = await site.startHere();
    expect(await site.outcome(PAGE)).toBe('451');
    site.register.publish('2', { type: 'revocation', notice: notice.id, from: 'now', entries: ['e0000001'] });
    await node.follow();
    expect(await site.outcome(PAGE)).toBe('200 origin: /page');
    expect(await site.outcome('http://host.example/second')).toBe('451');
    site.register.publish('3', { type: 'revocation', notice: notice.id, from: 'now', reference: 'TEST/3' });
    await node.follow();
    // Caches lead to this gateway for a while yet.
    expect(await site.outcome('http://host.example/second')).toBe('200 origin: /second');
    site.register.notice('4', [{ url: 'http://late.example/' }], { reference: 'TEST/4' });
    await node.follow();
    expect(await site.outcome('http://late.example/')).toBe('451');
  });

  it('follows a log as a node of its own, and says in receipts that pages are enforced', async () => {
    const register = await LogRegister.create(makeFolder());
    onTestFinished(() => register.close());
    const bodies: string[] = [];
    const receiver = createServer(async (request, response) => {
      bodies.push((await request.toArray()).join(''));
      response.writeHead(201).end();
    });
    await new Promise<void>((resolve) => receiver.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => void receiver.close().closeAllConnections());
    const receipts = `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/receipts`;
    site.config.register = { ...register.nodeConfig(), receipts, node: 'gateway-1', pollSeconds: 3_600 };
    const notice = await register.notice([{ url: PAGE }]);
    const node = await site.startHere();
    expect(await site.outcome(PAGE)).toBe('451');
    await waitUntil('a receipt arrives', () => bodies.length > 0);
    expect(JSON.parse(Buffer.from(JSON.parse(bodies[0]!).payload, 'base64').toString())).toMatchObject({
      ...{ node: 'gateway-1', mode: 'enforce', treeSize: 1, rules: 1 },
      pages: { entries: 1, httpOnly: 1, steered: true },
    });
    expect(existsSync(join(site.config.state, NODE_KEY_FILE))).toBe(true);
    await register.revoke(notice.id);
    await node.follow();
    expect(await site.outcome(PAGE)).toBe('200 origin: /page');
    expect(await site.ask('/metrics')).toContain('warta_log_size 2\n');
    await node.stop();
  });

  it('ends a rule on time, without news, and lets no cache keep the answer longer', async () => {
    const end = nowSeconds() + 4;
    site.register.notice('1', [{ url: PAGE }], { term: { expires: formatInstant(end) } });
    await site.startHere();
    site.register.withdraw('1');
    const answer = await site.get(PAGE);
    expect(answer).toMatch(/^HTTP\/1\.1 451 /);
    const age = Number(/^max-age=(\d+)$/.exec(fieldOf(answer, 'Cache-Control')!)![1]);
    expect(age).toBeLessThanOrEqual(4);
    await waitUntil('the page passes', async () => (await site.outcome(PAGE)) === '200 origin: /page');
    expect(Date.now() / 1000).toBeGreaterThanOrEqual(end);
  });

  it('serves the saved table when it is started without the register', async () => {
    site.register.notice('1', [{ url: PAGE }]);
    await (await site.startHere()).stop();
    rmSync(site.register.directory, { recursive: true });
    const node = await site.startHere();
    expect(node.log.join('')).toContain('saved table loaded: ');
    expect(await site.outcome(PAGE)).toBe('451');
    expect(await site.outcome(OTHER)).toBe('200 origin: /other');
    expect(await site.ask('/healthz')).toContain('the register could not be read');
    expect(await site.ask('/metrics')).toContain('warta_listed_pages{https="passed"} 1\n');
  });

  it('listens only when it has the register as it is now: resolvers lead here to hosts listed while it was away', async () => {
    site.register.notice('1', [{ url: PAGE }]);
    await (await site.startHere()).stop();
    site.register.notice('2', [{ url: 'http://new.example/page' }], { reference: 'TEST/2' });
    const started = site.startHere();
    let first = '';
    while (first === '') first = await site.get('http://new.example/other');
    await started;
    expect(first).toMatch(/^HTTP\/1\.1 200 /);
    expect(await site.outcome('http://new.example/page')).toBe('451');
  });

  it('does not start without any list: it would refuse hosts that nobody blocks', async () => {
    rmSync(site.register.directory, { recursive: true });
    await expect(site.startHere()).rejects.toMatchObject({ code: 'store-failed' });
    expect(await site.get(PAGE)).toBe('');
  });

  it('revives nothing that had ended by the latest time it believed in before the restart', async () => {
    site.register.notice('1', [{ url: PAGE }], { term: { expires: '2d' } });
    site.register.notice('2', [{ url: 'http://lasting.example/' }], { reference: 'TEST/2', term: { expires: '20d' } });
    site.writeFloor(nowSeconds() + 3 * 86_400);
    await site.startHere();
    expect(await site.outcome('http://lasting.example/')).toBe('451');
    expect(await site.outcome(PAGE)).toBe('421');
    expect(await site.ask('/healthz')).toContain('the clock jumped by');
  });

  it('says what is in force, where it listens, and what is wrong', async () => {
    site.register.notice('1', [{ url: PAGE }, { subtree: 'blocked.example' }]);
    writeFileSync(site.register.pathOf('2'), '{"payload":"x"}');
    const { log } = await site.startHere();
    expect(log[0]).toContain('register.rescanSeconds: 3600 is too seldom for a gateway');
    const { http, https } = site.config.gateway;
    const health = JSON.parse(await site.ask('/healthz'));
    expect(health.serving).toBe(true);
    expect(health.notes).toEqual([`${http} (HTTP), ${https} (HTTPS)`, '2 rules, 1 listed page']);
    const status = JSON.parse(await site.ask('/status'));
    expect(status).toMatchObject({ mode: 'enforce', rules: 2, pages: { pages: 1, blockHostPages: 0 }, serving: true });
    const metrics = await site.ask('/metrics');
    for (const line of ['warta_rules 2', 'warta_statements{verdict="ok"} 1', 'warta_pages_steered 1']) {
      expect(metrics).toContain(`${line}\n`);
    }
    expect(metrics).toMatch(/^warta_clock_step_seconds 0/m);
    expect(metrics).toContain('warta_gateway_requests_total{outcome="blocked"} 0\n');
    expect(metrics).toContain('process_resident_memory_bytes');
  });
});

describe('warta gateway', () => {
  it('serves, tells its status, and finishes what is under way when it is asked to stop', async () => {
    site.register.notice('1', [{ url: PAGE }]);
    const program = site.spawnProcess();
    const { http, https } = site.config.gateway;
    await program.waitFor(/"msg":"serving on /);
    expect(program.output()).toContain(`serving on ${http} (HTTP), ${https} (HTTPS)`);
    expect(await site.outcome(PAGE)).toBe('451');
    const status = startWarta(['gateway', 'status', '--config', site.writeConfig()]);
    expect(await status.ended).toBe(0);
    expect(status.output()).toMatch(/^node +serving, all well$/m);
    expect(status.output()).toMatch(/^pages +1 listed; HTTPS to the hosts of 1 passes/m);
    const slow = new RawClient(site.httpPort).send('GET /page HTTP/1.1\r\nHost: host.example\r\n');
    await waitUntil('the connection counts', async () =>
      (await site.ask('/metrics')).includes('warta_gateway_connections{listener="http"} 1\n'),
    );
    program.kill('SIGTERM');
    await program.waitFor(/SIGTERM: stopping/);
    slow.send('Connection: close\r\n\r\n');
    expect(await slow.waitForEnd()).toMatch(/^HTTP\/1\.1 451 /);
    expect(await program.ended).toBe(0);
    const stopped = startWarta(['gateway', 'status', '--config', site.writeConfig()]);
    expect(await stopped.ended).toBe(1);
    expect(stopped.output()).toContain('systemctl status warta-gateway');
  });

  it('says what to do about a port in use, a pack that is none, and a file for a resolver', async () => {
    const taken = await GatewaySite.prepare(internet);
    await taken.startHere();
    site.config.gateway.http = taken.config.gateway.http;
    const busy = site.spawnProcess();
    expect(await busy.ended).toBe(1);
    expect(busy.output()).toMatch(/error \[socket-failed\]: cannot listen on 127\.0\.0\.1 port \d+/);
    site.config.register.policyPack = join(site.folder, 'absent.yaml');
    const packless = site.spawnProcess();
    expect(await packless.ended).toBe(1);
    expect(packless.output()).toContain('check register.policyPack');
    const { gateway: _, ...rest } = site.config;
    Object.assign(site, { config: rest });
    const resolver = site.spawnProcess();
    expect(await resolver.ended).toBe(1);
    expect(resolver.output()).toContain('no section gateway: see config/gateway.yaml');
  });
});
