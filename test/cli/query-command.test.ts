import { Packet } from 'dns2';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type AnswerParts, composeAnswer, type ScriptedServer, startServer } from './dns-server.ts';
import { run, runJson } from './run.ts';

const { RCODE, TYPE } = Packet;
const SOA = {
  type: TYPE.SOA,
  primary: 'warta.invalid',
  admin: 'hostmaster.warta.invalid',
  serial: 1,
  refresh: 2,
  retry: 3,
  expiration: 4,
  minimum: 60,
};

let server: ScriptedServer;
beforeAll(async () => {
  server = await startServer();
});
afterAll(() => server.close());
beforeEach(() => {
  server.seen.length = 0;
});

const answerWith = (parts: AnswerParts) => {
  server.script = (query) => [composeAnswer(query, parts)];
};
const ask = (...words: string[]) => run('query', ...words, '--server', server.address);
const askJson = (...words: string[]) => runJson('query', ...words, '--server', server.address);

describe('warta query', () => {
  it('shows a blocked answer with its notice', async () => {
    answerWith({ rcode: RCODE.NXDOMAIN, authorities: [SOA], errors: [[16, 'notice MCMC/2026/000101']] });
    const { exitCode, out } = await ask('scam-bank.example');
    expect(exitCode).toBe(0);
    expect(out).toMatch(/^question +scam-bank\.example A$/m);
    expect(out).toMatch(/^status +NXDOMAIN \(qr rd ra\)$/m);
    expect(out).toMatch(
      /^authority +scam-bank\.example 60 SOA warta\.invalid\. hostmaster\.warta\.invalid\. 1 2 3 4 60$/m,
    );
    expect(out).toMatch(/^error +16 Censored: notice MCMC\/2026\/000101$/m);
    expect(out).toMatch(/\nscam-bank\.example is blocked under notice MCMC\/2026\/000101 \(Censored\)\.$/);
    expect(await askJson('scam-bank.example')).toMatchObject({
      rcode: 'NXDOMAIN',
      verdict: 'blocked',
      notice: 'MCMC/2026/000101',
      transport: 'udp',
      edns: { udpSizeBytes: 1232 },
      extendedErrors: [{ code: 16, name: 'Censored', text: 'notice MCMC/2026/000101' }],
      authority: [{ name: 'scam-bank.example', type: 'SOA', ttlSeconds: 60 }],
    });
  });

  const structured = '{"c":["tel:+60"],"j":"MCMC: notice MCMC/2026/7","o":"ISP","l":"en"}';
  it.each<[string, AnswerParts, object]>([
    ['NODATA with a notice', { errors: [[16, 'notice A (B) 1']] }, { verdict: 'blocked', notice: 'A (B) 1' }],
    ['a structured error', { rcode: 3, errors: [[16, structured]] }, { verdict: 'blocked', notice: 'MCMC/2026/7' }],
    [
      'a block without a notice',
      { rcode: 3, errors: [[15, 'policy']] },
      { sentence: 'a.example is blocked, and no notice is named (Blocked).' },
    ],
    ['a forged answer', { errors: [[4, '']], answers: [{ type: 1, address: '192.0.2.1' }] }, { verdict: 'blocked' }],
    [
      'a forged answer with a notice',
      { errors: [[4, 'notice MCMC/2026/7']], answers: [{ type: 1, address: '192.0.2.1' }] },
      { verdict: 'gateway', notice: 'MCMC/2026/7' },
    ],
    ['an answer', { errors: [], answers: [{ type: 1, address: '192.0.2.1' }] }, { verdict: 'not-blocked' }],
    ['a stale answer', { errors: [[3, '']], answers: [{ type: 1, address: '192.0.2.1' }] }, { verdict: 'not-blocked' }],
    ['NXDOMAIN without a reason', { rcode: 3, errors: [] }, { verdict: 'not-blocked' }],
    ['NODATA without a reason', { errors: [] }, { verdict: 'not-blocked' }],
    ['NXDOMAIN of a resolver without EDNS', { rcode: 3 }, { verdict: 'unknown' }],
    [
      'an answer of a resolver without EDNS',
      { answers: [{ type: 1, address: '192.0.2.1' }] },
      { verdict: 'not-blocked' },
    ],
    ['SERVFAIL', { rcode: 2, errors: [[22, '']] }, { verdict: 'unknown', rcode: 'SERVFAIL' }],
    ['REFUSED', { rcode: 5 }, { verdict: 'unknown', rcode: 'REFUSED' }],
    ['BADVERS', { rcode: 16, errors: [] }, { verdict: 'unknown', rcode: 'BADVERS' }],
  ])('says what %s means', async (_case, parts, expected) => {
    answerWith(parts);
    expect(await askJson('a.example')).toMatchObject(expected);
  });

  it.each([
    [22, 'No Reachable Authority'],
    [9, 'DNSKEY Missing'],
    [6, 'DNSSEC Bogus'],
    [19, 'Stale NXDOMAIN Answer'],
    [4000, 'Code 4000'],
  ])('names extended error %i', async (code, name) => {
    answerWith({ rcode: 2, errors: [[code, '']] });
    expect((await ask('a.example')).out).toMatch(new RegExp(`^error +${code} ${name}$`, 'm'));
  });

  it('shows records as a zone file does', async () => {
    answerWith({
      errors: [],
      answers: [
        { type: TYPE.CNAME, domain: 'b.example' },
        { type: TYPE.A, address: '192.0.2.1' },
        { type: TYPE.AAAA, address: '2001:db8::1' },
        { type: TYPE.MX, priority: 10, exchange: 'mx.example' },
        { type: TYPE.SRV, priority: 1, weight: 2, port: 3, target: 's.example' },
        { type: TYPE.NS, ns: 'ns.example' },
        { type: TYPE.TXT, data: ['one', 'two "2"'] },
        { type: 65, data: Buffer.from('000100', 'hex') },
      ],
    });
    const { answers } = await askJson('a.example', 'any');
    expect(answers.map(({ type, data }: { type: string; data: string }) => `${type} ${data}`)).toEqual([
      'CNAME b.example.',
      'A 192.0.2.1',
      'AAAA 2001:db8::1',
      'MX 10 mx.example.',
      'SRV 1 2 3 s.example.',
      'NS ns.example.',
      'TXT "one" "two \\"2\\""',
      'HTTPS \\# 3 000100',
    ]);
  });

  it('keeps control characters off the terminal', async () => {
    answerWith({ rcode: 3, errors: [[16, 'notice X\u001b[2Kclean']] });
    const { out } = await ask('a.example');
    expect(out).toContain('notice X\\u001b[2Kclean');
  });

  it.each<[string[], object]>([
    [[], { type: 1, edns: true, do: false }],
    [['https'], { type: 65, edns: true, do: false }],
    [['TYPE1234'], { type: 1234, edns: true, do: false }],
    [['AAAA', '--dnssec'], { type: 28, edns: true, do: true }],
    [['--no-edns'], { type: 1, edns: false, do: false }],
  ])('puts the question as told by %j', async (words, expected) => {
    answerWith({ errors: [] });
    await ask('Bank.example', ...words);
    const [{ query }] = server.seen;
    const opt = query.additionals.find(({ type }) => type === TYPE.EDNS);
    const [{ name, type }] = query.questions;
    expect(name).toBe('bank.example');
    expect({ type, edns: opt !== undefined, do: opt?.doFlag ?? false }).toEqual(expected);
    if (opt) expect(opt).toMatchObject({ class: 1232, version: 0 });
    expect(query.header).toMatchObject({ rd: 1, qr: 0, opcode: 0 });
  });

  it('cannot tell without EDNS, and says so', async () => {
    answerWith({ rcode: RCODE.NXDOMAIN, authorities: [SOA] });
    const { out } = await ask('a.example', '--no-edns');
    expect(out).toContain('ask without --no-edns');
    expect(out).not.toContain('is not blocked');
  });

  it('asks in A-labels and about the root', async () => {
    answerWith({ errors: [] });
    await ask('bücher.example.');
    await ask('.', 'NS');
    expect(server.seen.map(({ query }) => query.questions[0].name)).toEqual(['xn--bcher-kva.example', '']);
  });

  it('asks over TCP when told to', async () => {
    answerWith({ rcode: 3, errors: [[16, 'notice T']] });
    expect(await askJson('a.example', '--tcp')).toMatchObject({ transport: 'tcp', retriedOverTcp: false, notice: 'T' });
    expect(server.seen.map(({ transport }) => transport)).toEqual(['tcp']);
  });

  it('asks again over TCP when the answer was cut', async () => {
    server.script = (query, transport) => [
      composeAnswer(query, transport === 'udp' ? { tc: 1, errors: [] } : { errors: [[16, 'notice T']] }),
    ];
    expect(await askJson('a.example')).toMatchObject({ transport: 'tcp', retriedOverTcp: true, notice: 'T' });
    expect(server.seen.map(({ transport }) => transport)).toEqual(['udp', 'tcp']);
  });

  it('takes no answer but its own', async () => {
    server.script = (query) => {
      const good = composeAnswer(query, { errors: [[16, 'notice GOOD']] });
      const forged = composeAnswer(query, { errors: [[16, 'notice FORGED']] });
      forged.header.id = (query.header.id + 1) & 0xffff;
      const stray = composeAnswer(query, { errors: [] });
      stray.questions = [new Packet.Question('other.example', 1, 1)];
      const echo = composeAnswer(query, { errors: [] });
      echo.header.qr = 0;
      return [Buffer.from('junk'), forged, stray, echo, good];
    };
    expect(await askJson('a.example')).toMatchObject({ notice: 'GOOD' });
  });

  it('sends a lost datagram again', async () => {
    server.script = (query) => (server.seen.length < 2 ? [] : [composeAnswer(query, { errors: [] })]);
    expect((await ask('a.example', '--timeout', '1')).exitCode).toBe(0);
    expect(server.seen).toHaveLength(2);
  });

  it.each([[['--tcp']], [[]]])('fails when no answer arrives %j', async (words) => {
    server.script = () => [];
    const outcome = await ask('a.example', '--timeout', '0.2', ...words);
    expect(outcome).toMatchObject({ exitCode: 1, error: 'query-failed', out: '' });
    expect(outcome.message).toContain(`no answer from ${server.address} in 0.2 s`);
  });

  it('tells what came instead of an answer', async () => {
    server.script = () => [Buffer.from('junk')];
    const udp = await ask('a.example', '--timeout', '0.2');
    expect(udp.message).toContain('what came is no DNS message');
    const tcp = await ask('a.example', '--tcp');
    expect(tcp).toMatchObject({ exitCode: 1, error: 'query-failed' });
    expect(tcp.message).toContain('what came is no DNS message');
  });

  it.each([[['--tcp']], [[]]])('says that nothing listens %j', async (words) => {
    const gone = await startServer();
    await gone.close();
    const outcome = await run('query', 'a.example', '--server', gone.address, ...words);
    expect(outcome).toMatchObject({ exitCode: 1, error: 'query-failed' });
    expect(outcome.message).toContain('nothing listens there');
  });

  it.each([
    [['a b'], 'Write a domain name'],
    [['a.example', 'AXFR'], 'Write a record type'],
    [['a.example', 'TYPE65536'], 'Write a record type'],
    [['a.example', '--server', 'dns.example'], 'Write 192.0.2.1:53'],
    [['a.example', '--timeout', '0'], 'Write seconds'],
    [['a.example', '--dnssec', '--no-edns'], 'cannot be used with'],
    [[], "missing required argument 'name'"],
  ])('takes %j for a wrong command line', async (words, message) => {
    const outcome = await run('query', ...words);
    expect(outcome.exitCode).toBe(2);
    expect(outcome.error).toContain(message);
  });
});
