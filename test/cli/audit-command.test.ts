import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { Command, CommanderError } from 'commander';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { WartaError } from '../../src/base/errors.ts';
import { registerAuditCommand } from '../../src/cli/audit-command.ts';
import { composeCanonical } from '../../src/register/canonical.ts';
import { parseEnvelope, signEnvelope } from '../../src/register/envelope.ts';
import { formatInstant } from '../../src/register/time.ts';
import { type Say, startDouble } from '../audit/dns-double.ts';
import { AuditDesk, DAY, HOUR, LICENSEE, ReceiptNode, START } from '../audit/fixture.ts';
import { makeFolder } from '../support/folders.ts';
import { signerOf } from '../support/log-register.ts';
import { spawnProgram } from './run.ts';

/** Runs an audit command in this process, with the exit codes of the program. */
async function run(...words: string[]) {
  const lines: string[] = [];
  const log = vi.spyOn(console, 'log').mockImplementation((text) => void lines.push(String(text)));
  const error = vi.spyOn(console, 'error').mockImplementation((text) => void lines.push(String(text)));
  let usage = '';
  const program = new Command('warta').exitOverride().configureOutput({
    writeErr: (text) => {
      usage += text;
    },
  });
  registerAuditCommand(program);
  const before = process.exitCode;
  process.exitCode = undefined;
  const finish = (exitCode: number, code = '') => ({
    exitCode,
    code,
    out: stripVTControlCharacters(lines.join('\n')),
    usage,
  });
  try {
    await program.parseAsync(['audit', ...words], { from: 'user' });
    return finish(Number(process.exitCode ?? 0));
  } catch (thrown) {
    if (thrown instanceof CommanderError) return finish(2);
    if (thrown instanceof WartaError) return finish(1, thrown.code);
    throw thrown;
  } finally {
    process.exitCode = before;
    log.mockRestore();
    error.mockRestore();
  }
}

/** A register with nodes that obey it, audited as of its own last moment. */
async function createDesk() {
  const desk = await AuditDesk.create({ witnesses: 3, quorum: 2 });
  const { register } = desk;
  const node = await ReceiptNode.enrol(desk);
  const notice = await register.notice([{ subtree: 'bad.example', exclude: ['ok.bad.example'] }, 'worse.example'], {
    reference: 'N/1',
    term: { expires: '2d' },
  });
  desk.wait(30);
  await node.apply();
  const secret = await register.notice(['first-secret.example', 'second-secret.example'], {
    sealed: true,
    reference: 'N/2',
  });
  desk.wait(30);
  const receipt = await node.apply();
  await register.publish({
    type: 'revocation',
    notice: notice.id,
    entries: ['e0000002'],
    from: 'now',
    reference: 'R/1',
  });
  desk.wait(30);
  await node.apply();
  const folder = makeFolder();
  const place = ['--mirror', register.publicFolder, '--root', register.rootFile, '--cache', join(folder, 'cache')];
  const audit = (command: string, ...words: string[]) =>
    run(command, ...place, '--as-of', formatInstant(desk.nowSeconds), ...words);
  const auditJson = async (command: string, ...words: string[]) =>
    JSON.parse((await audit(command, ...words, '--json')).out);
  return { desk, register, node, notice, secret, receipt, folder, place, audit, auditJson };
}

let site: Awaited<ReturnType<typeof createDesk>>;
beforeAll(async () => {
  site = await createDesk();
});

describe('warta audit verify', () => {
  it('tells what it verified and every verdict; 0 when all is well', async () => {
    const { exitCode, out } = await site.audit('verify');
    expect(exitCode).toBe(0);
    expect(out).toContain('ok          0  2026-03-01T09:00:00Z  notice N/1, signed by one, two');
    expect(out).toContain('notice N/2, signed by one, two (sealed, not at hand)');
    expect(out).toMatch(/outcome +sound/);
    expect(out).toMatch(/statements +3 good, none void, 1 sealed and not at hand/);
    const report = await site.auditJson('verify');
    expect(report).toMatchObject({
      sound: true,
      counts: { good: 3, void: 0, unread: 1 },
      log: { leaves: 3, rootMatches: true },
    });
    expect(report.statements).toHaveLength(3);
  });

  it('is 1 with a void statement, and obeys no control character that one holds', async () => {
    const { register, audit } = await createDesk();
    const signed = register.sign({ type: 'notice', names: ['x.example'] });
    const payload = JSON.parse(parseEnvelope(signed.envelope).payload.toString());
    payload.reference = 'N/\u001b[32m\rFINE';
    await register.appendStatement({ ...signed, envelope: signEnvelope(composeCanonical(payload), [signerOf('one')]) });
    const { exitCode, out } = await audit('verify');
    expect(exitCode).toBe(1);
    expect(out).toContain('1 void');
    expect(out).toContain('N/\\u001b[32m\\u000dFINE');
  });

  it('is 1 without a register that follows from the root, and 2 for a wrong command line', async () => {
    const wrong = join(site.folder, 'wrong.json');
    writeFileSync(wrong, '{}');
    expect(
      await run('verify', '--mirror', site.register.publicFolder, '--root', wrong, '--cache', site.folder),
    ).toMatchObject({
      exitCode: 1,
      code: 'trust-invalid',
    });
    expect((await run('verify', '--root', wrong)).exitCode).toBe(2);
    expect((await site.audit('replay', '--at', 'yesterday', '--isp', LICENSEE)).exitCode).toBe(2);
    expect(
      (await site.audit('diff', '--isp', LICENSEE, '--from', formatInstant(START + 1), '--to', formatInstant(START)))
        .exitCode,
    ).toBe(2);
  });
});

describe('warta audit replay', () => {
  const at = formatInstant(START + 45);

  it('writes the rules as CSV, as JSON lines or as one document, with the digest that the receipt states', async () => {
    const file = (name: string) => join(site.folder, name);
    const summary = await site.audit('replay', '--at', at, '--isp', LICENSEE, '--out', file('rules.csv'));
    expect(summary.exitCode).toBe(0);
    expect(summary.out).toContain(`3 rules for ${LICENSEE} at ${at}, 1 sealed notice not at hand`);
    const ends = formatInstant(START + 2 * DAY);
    const rows = readFileSync(file('rules.csv'), 'utf8').trimEnd().split('\n');
    expect(rows).toEqual([
      'name,scope,exclusions,notice,noticeId,entry,notBefore,notAfter,action,query,https,url',
      `bad.example,subtree,ok.bad.example,N/1,${site.notice.id},e0000001,2026-03-01T09:00:00Z,${ends},block,,,`,
      `worse.example,exact,,N/1,${site.notice.id},e0000002,2026-03-01T09:00:00Z,${ends},block,,,`,
      `(sealed),sealed,,N/2,${site.secret.id},2,2026-03-01T09:00:30Z,${formatInstant(START + 30 + 30 * DAY)},,,,`,
    ]);
    await site.audit('replay', '--at', at, '--isp', LICENSEE, '--lines', '--out', file('rules.jsonl'));
    const lines = readFileSync(file('rules.jsonl'), 'utf8').trimEnd().split('\n');
    expect(lines.map((line) => JSON.parse(line).name)).toEqual(['bad.example', 'worse.example', '(sealed)']);
    const receiptTime = formatInstant(START + 60);
    await site.audit('replay', '--at', receiptTime, '--isp', LICENSEE, '--out', file('rules.json'), '--json');
    const document = JSON.parse(readFileSync(file('rules.json'), 'utf8'));
    expect(document).toMatchObject({ licensee: LICENSEE, treeSize: 3, ruleCount: 2, refused: 0, sealedUnread: 1 });
    expect(document.rulesDigest).not.toBe(site.receipt.rulesDigest);
    const before = await site.auditJson(
      'replay',
      '--at',
      formatInstant(START + 59),
      '--isp',
      LICENSEE,
      '--out',
      file('x.json'),
    );
    expect(before).toMatchObject({ treeSize: 2, rulesDigest: site.receipt.rulesDigest, authoritiesVersion: 1 });
  });

  it('has the standard output for the rules alone, and shows sealed names to who holds the annex', async () => {
    const words = [...site.place, '--as-of', formatInstant(site.desk.nowSeconds), '--at', at, '--isp', LICENSEE];
    const { exitCode, out, err } = await spawnProgram(['audit', 'replay', ...words]);
    expect([exitCode, out.split('\n').length, out.includes('secret')]).toEqual([0, 5, false]);
    expect(err).toContain('in force');
    const holder = await spawnProgram(['audit', 'replay', ...words, '--annexes', site.desk.sealedAnnexes, '--json']);
    const { rules, sealedUnread } = JSON.parse(holder.out);
    expect(rules.map(({ name }: { name: string }) => name)).toContain('second-secret.example');
    expect(sealedUnread).toBe(0);
  });
});

describe('warta audit diff', () => {
  it('lists what came and went with the statement that did it', async () => {
    const words = ['--isp', LICENSEE, '--from', formatInstant(START - 1), '--to', formatInstant(START + 20)];
    const { exitCode, out } = await site.audit('diff', ...words);
    expect(exitCode).toBe(0);
    expect(out).toContain('added     subtree  bad.example  (N/1; notice, by notice N/1)');
    const later = ['--isp', LICENSEE, '--from', formatInstant(START + 20), '--to', formatInstant(START + 90)];
    const { changes } = await site.auditJson('diff', ...later);
    expect(changes).toMatchObject([
      { change: 'removed', name: 'worse.example', reason: 'revoked', by: { type: 'revocation', reference: 'R/1' } },
      { change: 'added', name: '(sealed)', entry: '2', reason: 'notice', by: { reference: 'N/2' } },
    ]);
    expect((await site.audit('diff', '--isp', LICENSEE, '--from', at(20), '--to', at(20))).out).toContain(
      'nothing changed',
    );
  });

  const at = (seconds: number) => formatInstant(START + seconds);
});

describe('redirects and pages', () => {
  it('are told of by verify, replay, diff, findings and prove', async () => {
    const own = await createDesk();
    const names = [
      { subtree: 'lead.example', action: 'redirect' },
      { url: 'http://paged.example/a,b' },
      { url: 'http://paged.example/c', query: 'any' },
    ];
    const before = formatInstant(own.desk.nowSeconds - 1);
    await own.register.notice(names, { reference: 'P/1' });
    await own.register.notice([{ url: 'http://closed.example/' }], { reference: 'P/2', https: 'block-host' });
    own.desk.wait(30);
    own.node.steersPages = false;
    await own.node.apply();
    const { out } = await own.audit('verify');
    expect(out).toMatch(/^redirects +1, to the notice page$/m);
    expect(out).toMatch(/^pages +3: 2 on HTTP alone, .*, 1 with HTTPS closed to the whole host$/m);
    const now = formatInstant(own.desk.nowSeconds);
    const file = join(own.folder, 'rules.csv');
    const summary = await own.audit('replay', '--at', now, '--isp', LICENSEE, '--out', file);
    expect(summary.out).toMatch(/^pages +3: 2 on HTTP alone/m);
    const rows = readFileSync(file, 'utf8').trimEnd().split('\n').slice(-4);
    expect(rows.map((row) => row.replace(/,P.*Z,/, ' … '))).toEqual([
      'lead.example,subtree, … redirect,,,',
      'paged.example,url, … block,,passed,"http://paged.example/a,b"',
      'paged.example,url, … block,any,passed,http://paged.example/c',
      'closed.example,url, … block,,closed,http://closed.example/',
    ]);
    // What a replay writes may be held against the register again.
    writeFileSync(file, rows.join('\n'));
    const observed = await own.audit('findings', '--observed', file, '--isp', LICENSEE, '--least', 'error');
    expect([observed.exitCode, observed.out.includes('no findings')]).toEqual([0, true]);
    const changed = await own.audit('diff', '--isp', LICENSEE, '--from', before, '--to', now);
    expect(changed.out).toContain('added     subtree  lead.example, redirected  (P/1; notice');
    expect(changed.out).toContain('added     url      http://paged.example/c with any query, on HTTP alone  (P/1;');
    expect(changed.out).toContain('added     url      http://closed.example/, HTTPS to the whole host closed  (P/2;');
    const found = await own.audit('findings');
    expect(found.out).toContain('2 pages of P/1 hold on HTTP alone: HTTPS to their hosts passes');
    expect(found.out).toContain('sends the hosts of 3 listed pages to no gateway: it blocks none of them');
    const led = await own.audit('prove', 'www.lead.example', '--isp', LICENSEE);
    expect(led.out).toMatch(/^entry +e0000001: subtree lead\.example, redirected to the notice page, of annex/m);
    const paged = await own.audit('prove', 'paged.example', '--isp', LICENSEE);
    expect([paged.exitCode, paged.out.includes('not blocked')]).toEqual([1, true]);
    expect(paged.out).toContain('P/1 is about one page of it: http://paged.example/c with any query, on HTTP alone');
  });
});

describe('warta audit findings', () => {
  it('is 0 for a sound register, and tells how fast each licensee was', async () => {
    const { exitCode, out } = await site.audit('findings');
    expect([exitCode, out.includes('no findings')]).toEqual([0, true]);
    expect(out).toContain(`${LICENSEE} releases  1 applied, 0 not shown to be; median 30 s, slowest 30 s (R/1)`);
    expect(await site.auditJson('findings')).toMatchObject({
      findings: [],
      timings: [{ direction: 'block' }, { direction: 'release' }],
    });
  });

  it('is 1 with findings, worst first, and takes names that were seen blocked', async () => {
    const { desk, node, register, audit, auditJson, folder } = await createDesk();
    const overrides = [{ check: 'size-breaker', officer: 'one', reason: 'Urgent.' }];
    await register.notice(['later.example'], { reference: 'N/3', overrides });
    await node.apply((receipt) => ({ ...receipt, rulesDigest: 'ab'.repeat(32) }));
    desk.wait(2 * HOUR);
    const list = join(folder, 'seen.txt');
    writeFileSync(list, 'bad.example\nworse.example\n');
    const words = ['--observed', list, '--isp', LICENSEE];
    const { findings } = await auditJson('findings', ...words);
    expect(findings.map(({ code }: { code: string }) => code)).toEqual([
      'receipt-disagrees',
      'released-applied',
      'heartbeat-gap',
      'override',
    ]);
    expect((await auditJson('findings', '--no-receipts', '--least', 'error')).findings).toEqual([]);
    const told = await audit('findings', ...words);
    expect(told.exitCode).toBe(1);
    expect(told.out).toContain('findings: 2 error, 1 warning, 1 note');
    expect(told.out).toMatch(
      /released-applied +worse.example is blocked, and may not be: N\/1 is revoked for it .*, by R\/1/,
    );
    expect(told.out).toContain('statement N/1; leaf 0; signed by one, two; at NSP-TEST-1');
    expect((await audit('findings', '--observed', list)).exitCode).toBe(2);
  });

  it('is a finding when the log cannot be opened, as entries were removed', async () => {
    const { register, folder } = await createDesk();
    const bundle = join(register.publicFolder, 'tile/entries/000.p/3');
    const bytes = readFileSync(bundle);
    writeFileSync(bundle, bytes.subarray(2 + bytes.readUInt16BE(0)));
    const cache = ['--cache', join(folder, 'fresh')];
    const place = ['--mirror', register.publicFolder, '--root', register.rootFile, ...cache];
    const { exitCode, out } = await run('findings', ...place, '--as-of', formatInstant(START + 90), '--json');
    expect(exitCode).toBe(1);
    expect(JSON.parse(out).findings).toMatchObject([{ code: 'log-broken', severity: 'error' }]);
  });
});

describe('warta audit prove', () => {
  it('proves a block by a file that is checked with the root alone', async () => {
    const proof = join(site.folder, 'proof.json');
    const words = ['deep.bad.example', '--isp', LICENSEE, '--out', proof];
    const { exitCode, out } = await site.audit('prove', ...words);
    expect(exitCode).toBe(0);
    expect(out).toMatch(/notice +N\/1/);
    expect(out).toContain('the chain holds');
    const checked = await run('prove', '--check', proof, '--root', site.register.rootFile, '--json');
    expect(checked.exitCode).toBe(0);
    expect(JSON.parse(checked.out)).toMatchObject({
      blocked: true,
      name: 'deep.bad.example',
      notice: { reference: 'N/1', signers: ['one', 'two'] },
      log: { index: 0, size: 3 },
    });
    writeFileSync(proof, readFileSync(proof, 'utf8').replace('deep.bad.example', 'deep.bed.example'));
    expect(await run('prove', '--check', proof, '--root', site.register.rootFile)).toMatchObject({
      exitCode: 1,
      code: 'proof-invalid',
    });
  });

  it.each([
    ['worse.example', [], 'N/1 is revoked for it from 2026-03-01T09:01:00Z, by R/1'],
    ['ok.bad.example', [], 'N/1 keeps ok.bad.example reachable, by N/1'],
    ['example', [], 'no notice is about it'],
    ['good.example', [], 'no notice is about it'],
    ['bad.example', ['--at', formatInstant(START + 3 * DAY)], `N/1 ended at ${formatInstant(START + 2 * DAY)}`],
  ])('says why %s is not blocked, and is 1', async (name, words, why) => {
    const { exitCode, out } = await site.audit('prove', name, '--isp', LICENSEE, ...words);
    expect(exitCode).toBe(1);
    expect(out).toContain(why);
    expect((await site.auditJson('prove', name, '--isp', LICENSEE, ...words)).blocked).toBe(false);
  });

  it('is 2 without a name or a proof', async () => {
    expect((await site.audit('prove', '--isp', LICENSEE)).exitCode).toBe(2);
    expect((await run('prove', 'bad.example', '--root', site.register.rootFile)).exitCode).toBe(2);
  });
});

describe('warta audit disclose and check-disclosure', () => {
  it('show one sealed name to who has public files alone, and no other', async () => {
    const annex = join(site.folder, 'annex.jsonl');
    writeFileSync(annex, site.secret.annex!.bytes);
    const file = join(site.folder, 'disclosure.json');
    const made = await site.audit(
      'disclose',
      'second-secret.example',
      '--notice',
      'N/2',
      '--annex',
      annex,
      '--out',
      file,
    );
    expect(made).toMatchObject({ exitCode: 0 });
    expect(readFileSync(file, 'utf8')).not.toContain('first-secret');
    const { exitCode, out } = await site.audit('check-disclosure', file);
    expect(exitCode).toBe(0);
    expect(out).toMatch(/entry +e0000002: exact second-secret.example/);
    expect(out).toContain('in force at');
    expect(await site.auditJson('check-disclosure', file)).toMatchObject({
      holds: true,
      notice: { reference: 'N/2', index: 1 },
    });
    writeFileSync(file, readFileSync(file, 'utf8').replaceAll('second-secret', 'zecond-secret'));
    expect(await site.audit('check-disclosure', file)).toMatchObject({ exitCode: 1, code: 'disclosure-invalid' });
  });

  it('refuse a name that the annex does not have, and a notice that the log does not have', async () => {
    const annex = join(site.folder, 'annex.jsonl');
    writeFileSync(annex, site.secret.annex!.bytes);
    const disclose = (name: string, notice: string) =>
      site.audit('disclose', name, '--notice', notice, '--annex', annex);
    expect(await disclose('third.example', 'N/2')).toMatchObject({ exitCode: 1, code: 'annex-mismatch' });
    expect(await disclose('first-secret.example', 'N/9')).toMatchObject({
      exitCode: 1,
      code: 'statement-target-unknown',
    });
    expect(await disclose('first-secret.example', 'N/1')).toMatchObject({ exitCode: 1, code: 'annex-mismatch' });
  });
});

describe('warta audit probe', () => {
  const doubles: { close(): Promise<void> }[] = [];
  afterAll(async () => {
    for (const double of doubles) await double.close();
  });

  it('reports what a resolver blocks too little and too much, over each transport', async () => {
    // NXDOMAIN for bad.example itself would deny what it excludes.
    const formOf = (name: string) => (name === 'bad.example' ? 'nodata' : 'nxdomain');
    const blockAll = (name: string): Say =>
      /(^|\.)bad\.example$/.test(name) ? { block: 'notice N/1', form: formOf(name) } : 'open';
    const double = await startDouble(blockAll);
    doubles.push(double);
    const ca = join(site.folder, 'ca.pem');
    writeFileSync(ca, double.ca);
    for (const protocol of ['udp', 'tcp', 'dot', 'doh'] as const) {
      const { port } = double.target(protocol);
      const words = [
        '--resolver',
        `127.0.0.1:${port}`,
        '--protocol',
        protocol,
        '--isp',
        LICENSEE,
        '--settle',
        '1',
        '--ca',
        ca,
      ];
      const { exitCode, out } = await site.audit('probe', ...words, '--per-second', '5000', '--json');
      expect(exitCode).toBe(1);
      const { findings, counts } = JSON.parse(out);
      const found = new Set(
        findings.map((one: { code: string; evidence: { name: string } }) => `${one.code} ${one.evidence.name}`),
      );
      // The double excludes nothing: the exclusion and a name below it are blocked.
      expect([...found].filter((line) => !String(line).includes('warta-probe'))).toEqual([
        'scope-wider ok.bad.example',
      ]);
      expect(counts).toMatchObject({ 'over-blocked': 2, 'under-blocked': 0, unanswered: 0 });
      double.say = () => 'open';
      const idle = await site.audit('probe', ...words, '--per-second', '5000');
      expect(idle.out).toContain('bad.example is to be blocked under N/1 and resolves');
      double.say = blockAll;
    }
  });

  it('is 2 for what is no resolver, and 1 for one that is not there', async () => {
    const words = ['--isp', LICENSEE, '--settle', '1', '--timeout', '1'];
    expect((await site.audit('probe', '--resolver', 'dns.example', ...words)).exitCode).toBe(2);
    expect((await site.audit('probe', '--resolver', 'https://127.0.0.1/dns-query', ...words)).exitCode).toBe(2);
    expect((await site.audit('probe', '--resolver', '127.0.0.1', ...words, '--types', 'A,FOO')).exitCode).toBe(2);
    expect(await site.audit('probe', '--resolver', '127.0.0.1:1', ...words)).toMatchObject({
      exitCode: 1,
      code: 'probe-failed',
    });
  });
});
