import { existsSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ask, DatagramClient } from '../support/dns-client.ts';
import { type StubUpstream, startStubUpstream } from '../support/stub-upstream.ts';
import { NodeSite } from '../support/test-node.ts';
import { waitUntil } from '../support/wait.ts';

let upstream: StubUpstream;

beforeAll(async () => {
  upstream = await startStubUpstream();
});

afterAll(() => upstream?.close());

const BLOCKED = Array.from({ length: 2000 }, (_, i) => `bad${i}.example`);
const OPEN = Array.from({ length: 200 }, (_, i) => `good${i}.example`);
const NXDOMAIN = 3;

/** Asks about blocked and open names without a pause until it is stopped, and notes every answer that is wrong. */
function startLoad(server: { host: string; port: number }) {
  const client = new DatagramClient(server);
  const wrong = new Set<string>();
  let answered = 0;
  let stopping = false;
  const lane = async (first: number) => {
    for (let i = first; !stopping; i++) {
      const name = i % 2 === 0 ? BLOCKED[i % BLOCKED.length]! : OPEN[i % OPEN.length]!;
      await client.askAll(
        [`www.${name}`],
        (_, answer) => {
          if (answer === undefined) return; // down, which is not wrong
          answered++;
          const rcode = answer[3]! & 15;
          if ((rcode === NXDOMAIN) !== name.startsWith('bad')) wrong.add(`${name}: ${rcode}`);
        },
        { window: 1, timeoutMillis: 200 },
      );
    }
  };
  const lanes = Array.from({ length: 32 }, (_, i) => lane(i * 61));
  return {
    wrong,
    answered: () => answered,
    async stop() {
      stopping = true;
      await Promise.all(lanes);
      client.close();
    },
  };
}

describe('a resolver killed at once', () => {
  test('serves from the saved table after a restart, and never answers wrongly under load', async () => {
    const site = await NodeSite.prepare({ upstreams: [upstream] });
    site.register.notice(
      'n',
      BLOCKED.map((name) => ({ subtree: name })),
    );
    let program = await site.startProcess();
    expect(program.output()).toContain('no saved table is used');
    const load = startLoad(site.server);
    for (let round = 0; round < 3; round++) {
      const before = load.answered();
      await waitUntil('the load is answered', () => load.answered() > before + 1000);
      program.kill('SIGKILL');
      expect(await program.ended).toBe('SIGKILL');
      program = await site.startProcess();
      expect(program.output()).toMatch(/saved table loaded: 2000 rules/);
    }
    const before = load.answered();
    await waitUntil('the load is answered', () => load.answered() > before + 1000);
    await load.stop();
    expect([...load.wrong]).toEqual([]);
    await program.stop();
  });

  test('comes back with the old list or the new one wherever an update was cut short', async () => {
    const site = await NodeSite.prepare({ upstreams: [upstream] });
    site.register.notice(
      'n',
      BLOCKED.map((name) => ({ subtree: name })),
    );
    let program = await site.startProcess();
    for (const [round, delayMillis] of [0, 100, 200, 300, 450].entries()) {
      site.register.notice(`more${round}`, [{ subtree: `more${round}.test` }]);
      // A look every second starts the update; the delays fall before, into and after it.
      await sleep(700 + delayMillis);
      program.kill('SIGKILL');
      await program.ended;
      program = await site.startProcess();
      expect(program.output()).toMatch(/saved table loaded/);
      expect((await ask(site.server, BLOCKED[round]!)).rcode).toBe('NXDOMAIN');
      expect((await ask(site.server, OPEN[round]!)).rcode).toBe('NOERROR');
    }
    await waitUntil(
      'the last update is in use',
      async () => (await ask(site.server, 'more4.test')).rcode === 'NXDOMAIN',
    );
    await program.stop();
  });
});

describe('a saved table', () => {
  const flip = (path: string, at: number) => {
    const bytes = readFileSync(path);
    bytes[at < 0 ? bytes.length + at : at]! ^= 1;
    writeFileSync(path, bytes);
  };
  const size = (path: string) => readFileSync(path).length;

  test.each<[string, (path: string) => void]>([
    ['with a bit flipped in its first word', (path) => flip(path, 0)],
    ['with a bit flipped in the middle', (path) => flip(path, size(path) >> 1)],
    ['with a bit flipped in its hash', (path) => flip(path, -1)],
    ['cut in half', (path) => truncateSync(path, size(path) >> 1)],
    ['cut by one octet', (path) => truncateSync(path, size(path) - 1)],
    ['that is empty', (path) => truncateSync(path, 0)],
    ['that is something else', (path) => writeFileSync(path, '<html>404 Not Found</html>'.repeat(100))],
  ])('%s is rebuilt, never trusted', async (_, damage) => {
    const site = await NodeSite.prepare({ upstreams: [upstream] });
    site.register.notice(
      'n',
      BLOCKED.map((name) => ({ subtree: name })),
    );
    await (await site.startHere()).stop();
    const path = join(site.folder, 'state/rules.table');
    const whole = readFileSync(path);
    damage(path);
    expect(readFileSync(path).equals(whole)).toBe(false);
    const node = await site.startHere();
    expect(node.log.join('')).toMatch(/"code":"(table-damaged|table-foreign|store-failed)"/);
    expect(node.log.join('')).toContain('2000 rules from 1 statements');
    expect((await ask(node.server, 'bad7.example')).rcode).toBe('NXDOMAIN');
    expect((await ask(node.server, 'good.example')).rcode).toBe('NOERROR');
    await node.stop();
    // What was rebuilt was saved.
    const again = await site.startHere();
    expect(again.log.join('')).toContain('saved table loaded: 2000 rules');
    await again.stop();
  });

  test('compiled for another licensee, other authorities or another answer is not used', async () => {
    const site = await NodeSite.prepare({ upstreams: [upstream] });
    site.register.notice('n', [{ subtree: 'bad.example' }]);
    await (await site.startHere()).stop();
    site.config.register.licensee = 'NSP-OTHER-2';
    const node = await site.startHere();
    expect(node.log.join('')).toContain('"code":"table-foreign"');
    await node.stop();
  });

  test('is used when the register cannot be read', async () => {
    const site = await NodeSite.prepare({ upstreams: [upstream] });
    site.register.notice('n', [{ subtree: 'bad.example' }]);
    await (await site.startHere()).stop();
    site.config.register.directory = join(site.folder, 'not-mounted');
    expect(existsSync(site.config.register.directory)).toBe(false);
    const node = await site.startHere();
    expect((await ask(node.server, 'bad.example')).rcode).toBe('NXDOMAIN');
    await node.follow();
    expect(node.log.join('')).toContain('the last good list stays');
    expect((await ask(node.server, 'bad.example')).rcode).toBe('NXDOMAIN');
    await node.stop();
  });
});
