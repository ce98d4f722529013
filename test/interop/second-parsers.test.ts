import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { hasProgram, runProgram } from '../support/programs.ts';
import { type StubUpstream, startStubUpstream } from '../support/stub-upstream.ts';
import { NodeSite, type TestNode } from '../support/test-node.ts';

const REFERENCE = 'TEST/2026/000001';

/** A blocked answer as a parser saw it. */
interface Seen {
  rcode: string;
  flags: string;
  counts: string;
  soa: string;
  ede: string | undefined;
  dnssecOk: boolean | undefined;
}

/** How each parser is asked, and how its output reads. */
const PARSERS: Record<string, { args(ask: Ask): string[]; read(output: string): Seen }> = {
  kdig: {
    args: ({ port, name, type, tcp, dnssecOk, edns }) => [
      ...['@127.0.0.1', '-p', port, name, type, tcp ? '+tcp' : '+notcp'],
      edns ? '+edns' : '+noedns',
      ...(dnssecOk ? ['+dnssec'] : []),
    ],
    read: (output) => ({
      rcode: /status: (\w+)/.exec(output)?.[1] ?? '',
      flags: /^;; Flags: ([a-z ]*);/m.exec(output)?.[1] ?? '',
      counts: (/QUERY: .*/.exec(output)?.[0] ?? '').replaceAll(';', ','),
      soa: (/^\S+\s+\d+\s+IN\s+SOA\s.*$/m.exec(output)?.[0] ?? '').replace(/\s+/g, ' '),
      ede: /^;; EDE: (.*)$/m.exec(output)?.[1],
      dnssecOk: readDnssecOk(/^;; Version: 0; flags:([^;]*);/m.exec(output)),
    }),
  },
  drill: {
    args: ({ port, name, type, tcp, dnssecOk, edns }) => [
      ...['-p', port, tcp ? '-t' : '-u'],
      ...(dnssecOk ? ['-D'] : edns ? ['-b', '1232'] : []),
      ...[name, '@127.0.0.1', type],
    ],
    read: (output) => ({
      rcode: /rcode: (\w+)/.exec(output)?.[1] ?? '',
      flags: /^;; flags: ([a-z ]*?) ?;/m.exec(output)?.[1] ?? '',
      // drill does not count the OPT record.
      counts: (/QUERY: .*/.exec(output)?.[0] ?? '').trim(),
      soa: (/^\S+\s+\d+\s+IN\s+SOA\s.*$/m.exec(output)?.[0] ?? '').replace(/\s+/g, ' '),
      ede: output.match(/^; EDE: .*$/m)?.[0].replace(/^; EDE: (.*): [0-9a-f ]+\((.*)\)$/, "$1: '$2'"),
      dnssecOk: readDnssecOk(/^;; EDNS: version 0; flags:([^;]*);/m.exec(output)),
    }),
  },
};

function readDnssecOk(match: RegExpExecArray | null): boolean | undefined {
  return match === null ? undefined : match[1]!.trim() === 'do';
}

interface Ask {
  port: string;
  name: string;
  type: string;
  tcp: boolean;
  edns: boolean;
  dnssecOk: boolean;
}

const BLOCKED = [
  { name: 'sub.example', rcode: 'NXDOMAIN', owner: 'sub.example.' },
  { name: 'a.b.sub.example', rcode: 'NXDOMAIN', owner: 'sub.example.' },
  { name: 'exact.example', rcode: 'NOERROR', owner: 'exact.example.' },
];
const TYPES = ['A', 'AAAA', 'TXT', 'ANY', 'TYPE64', 'TYPE65', 'SOA', 'DS'];
const ASKED = [
  { edns: false, dnssecOk: false, tcp: false },
  { edns: true, dnssecOk: false, tcp: true },
  { edns: true, dnssecOk: true, tcp: false },
];

describe.each(['kdig', 'drill'])('blocked answers read by %s', (program) => {
  describe.skipIf(!hasProgram(program))('', () => {
    let upstream: StubUpstream;
    let node: TestNode;
    const { args, read } = PARSERS[program]!;

    beforeAll(async () => {
      upstream = await startStubUpstream();
      const site = await NodeSite.prepare({ upstreams: [upstream] });
      site.register.notice('n', [{ subtree: 'sub.example' }, 'exact.example'], { reference: REFERENCE });
      node = await site.startHere();
    });

    afterAll(async () => {
      await node?.stop();
      await upstream?.close();
    });

    const cases = BLOCKED.flatMap((blocked) => TYPES.map((type) => ({ ...blocked, type })));
    test.each(cases)('$name $type', async ({ name, type, rcode, owner }) => {
      for (const asked of ASKED) {
        const { stdout, stderr } = await runProgram(
          program,
          args({ port: String(node.server.port), name, type, ...asked }),
        );
        expect(`${stdout}${stderr}`).not.toMatch(/WARNING|\berror:|malformed|^Error/im);
        expect(read(stdout)).toEqual({
          rcode,
          flags: 'qr rd ra',
          counts: `QUERY: 1, ANSWER: 0, AUTHORITY: 1, ADDITIONAL: ${asked.edns && program === 'kdig' ? 1 : 0}`,
          soa: expect.stringMatching(
            new RegExp(
              `^${owner} 60 IN SOA warta\\.invalid\\. hostmaster\\.warta\\.invalid\\. \\d+ 3600 600 86400 60$`,
            ),
          ),
          ede: asked.edns ? `16 (Censored): 'notice ${REFERENCE}'` : undefined,
          dnssecOk: asked.edns ? asked.dnssecOk : undefined,
        });
      }
    });
  });
});
