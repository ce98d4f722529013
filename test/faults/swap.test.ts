import { afterAll, beforeAll, expect, test } from 'vitest';
import { DatagramClient, StreamClient } from '../support/dns-client.ts';
import { composeQuery } from '../support/dns-message.ts';
import { type StubUpstream, startStubUpstream } from '../support/stub-upstream.ts';
import { NodeSite } from '../support/test-node.ts';
import { waitUntil } from '../support/wait.ts';

let upstream: StubUpstream;

beforeAll(async () => {
  upstream = await startStubUpstream();
});

afterAll(() => upstream?.close());

const NXDOMAIN = 3;
const SWAPS = 4;
const PER_SECOND = 20_000;
const QUERIES = 60_000;

/**
 * What is known of one name: blocked from the start, never, or from the swap that brings its notice. Once an answer showed
 * the new truth, a query sent after it must not show the old one.
 */
function createJudge() {
  const newSince = new Map<string, number>();
  const wrong = new Set<string>();
  return {
    wrong,
    newSince,
    judge(name: string, sentAt: number, rcode: number) {
      const blocked = rcode === NXDOMAIN;
      const group = /^\d+\.(\w+)\.example$/.exec(name)![1]!;
      if (group === 'never' && rcode !== 0) wrong.add(`${name} ${rcode}`);
      if (group === 'always' && !blocked) wrong.add(`${name} ${rcode}`);
      if (!group.startsWith('later')) return;
      if (!blocked && rcode !== 0) wrong.add(`${name} ${rcode}`);
      const since = newSince.get(group);
      if (blocked && since === undefined) newSince.set(group, performance.now());
      if (!blocked && since !== undefined && sentAt > since) wrong.add(`${name}: the old truth after the new one`);
    },
  };
}

test.each(['batch', 'dgram'] as const)(
  'swaps under load lose no query and mix no truths (%s)',
  async (io) => {
    const site = await NodeSite.prepare({ upstreams: [upstream], resolver: { io } });
    const names = Array.from({ length: 5000 }, (_, i) => ({ subtree: `${i}.filler.example` }));
    site.register.notice('always', [{ subtree: 'always.example' }, ...names]);
    const node = await site.startHere();
    const { judge, wrong, newSince } = createJudge();
    const groups = ['always', 'never', ...Array.from({ length: SWAPS }, (_, i) => `later${i}`)];

    const publish = async () => {
      for (let i = 0; i < SWAPS; i++) {
        site.register.notice(`later${i}`, [{ subtree: `later${i}.example` }]);
        await node.follow();
      }
    };
    const published = publish();
    let done = false;
    void published.finally(() => {
      done = true;
    });

    // One client over TCP as well: the event loop has a table of its own to swap.
    const stream = await StreamClient.open(node.server);
    const overTcp = async () => {
      for (let i = 0; !done; i++) {
        const name = `${i}.${groups[i % groups.length]}.example`;
        const sentAt = performance.now();
        stream.send(composeQuery(name));
        await waitUntil('an answer over TCP', () => stream.received.length > i);
        const rcode = stream.received[i]![3]! & 15;
        if (groups[i % groups.length]!.startsWith('later') === false) judge(name, sentAt, rcode);
      }
    };

    const client = new DatagramClient(node.server);
    const sentAt = new Map<string, number>();
    let lost = 0;
    let asked = 0;
    function* source() {
      for (; asked < QUERIES || (!done && asked < 20 * QUERIES); asked++) {
        const name = `${asked}.${groups[asked % groups.length]}.example`;
        sentAt.set(name, performance.now());
        yield name;
      }
    }
    const load = client.askAll(
      source(),
      (name, answer) => {
        if (answer === undefined) lost++;
        else judge(name, sentAt.get(name)!, answer[3]! & 15);
        sentAt.delete(name);
      },
      { perSecond: PER_SECOND },
    );
    await Promise.all([published, overTcp(), load]);
    // All of the later names were seen to become blocked, while queries flowed.
    await client.askAll(
      groups.slice(2).map((group) => `0.${group}.example`),
      (name, answer) => judge(name, performance.now(), answer![3]! & 15),
    );
    expect([...wrong]).toEqual([]);
    expect(lost).toBe(0);
    expect(newSince.size).toBe(SWAPS);
    expect(client.strays).toEqual([]);
    expect(node.resolver.counters[1]!.swaps).toBeGreaterThanOrEqual(SWAPS);
    stream.close();
    client.close();
    await node.stop();
  },
  120_000,
);
