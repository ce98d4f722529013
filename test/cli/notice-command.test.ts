import { copyFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { composeCanonical, hashHex } from '../../src/register/canonical.ts';
import { signEnvelope } from '../../src/register/envelope.ts';
import { publicKeyOf, readPrivateKey } from '../../src/register/key.ts';
import { packSha256 } from '../register/fixture.ts';
import { Desk, editSample, SAMPLES } from './desk.ts';
import { run, runJson } from './run.ts';

let desk: Desk;
beforeEach(() => {
  desk = new Desk();
});
afterEach(() => desk.clear());

const sample = (name: string) => join(SAMPLES, name);

/** Drafts into the register; returns what `--json` tells. */
const draft = (file: string) => runJson('notice', 'draft', file, '--out', desk.register);

/** Drafts and signs with both keys; returns the envelope's path and the statement's id. */
async function publish(file: string, keys = [desk.one, desk.two]): Promise<{ envelope: string; id: string }> {
  const { payload, id, reference } = await draft(file);
  const envelope = join(desk.register, 'statements', `${reference.replaceAll('/', '-')}.json`);
  const { exitCode } = await run(
    'notice',
    'sign',
    payload,
    ...keys.flatMap((key) => ['--key', key]),
    '--out',
    envelope,
  );
  expect(exitCode).toBe(0);
  return { envelope, id };
}

const verifyRegister = (...words: string[]) => run('notice', 'verify', '--directory', desk.register, ...words);

/** A change as an officer drafts it. */
function change(type: string, fields: string): string {
  const head = `type: ${type}\nauthority: mcmc\nreference: MCMC/2026/C1\nreasons: { public: A test. }\n`;
  return desk.write(`${type}.yaml`, head + fields);
}

describe('warta notice draft', () => {
  it('writes the payload and the annex, and says what comes next', async () => {
    const { exitCode, out } = await run('notice', 'draft', sample('scam-phishing.yaml'), '--out', desk.register);
    expect(exitCode).toBe(0);
    const payload = readFileSync(join(desk.register, 'MCMC-2026-000101.payload.json'));
    const statement = JSON.parse(payload.toString());
    expect(payload.equals(composeCanonical(statement))).toBe(true);
    expect(readdirSync(join(desk.register, 'annexes'))).toEqual([`${statement.annex.digest}.jsonl`]);
    expect(out).toContain(hashHex(payload));
    expect(out).toMatch(/entries +3$/m);
    expect(out).toContain('warta notice sign');
    expect(out).not.toContain('guard-rails');
  });

  it('tells before anyone signs what the guard-rails would refuse', async () => {
    const file = desk.write('odd.yaml', editSample('mixed-hosts.yaml', '/pay?step=1', ':8080/pay'));
    const { refused } = await draft(file);
    expect(refused.map(({ name, reason }: { name: string; reason: string }) => [name, reason])).toEqual([
      ['cdn.jsdelivr.net', expect.stringContaining('protected name')],
      ['github.io', expect.stringContaining('public suffix')],
      ['shop.phishing-kit.test', expect.stringContaining('port')],
    ]);
  });

  it('says where pages hold, and what is redirected', async () => {
    const words = ['notice', 'draft', sample('mixed-hosts.yaml'), '--out', desk.register];
    expect((await run(...words)).out).toMatch(/^pages +1: 1 on HTTP alone, as no page can be told apart on HTTPS$/m);
    const lead = editSample(
      'mixed-hosts.yaml',
      '- phishing-kit.example',
      '- { exact: phishing-kit.example, action: redirect }',
    );
    const file = desk.write('lead.yaml', lead.replace('names:', 'https: block-host\nnames:'));
    const again = ['notice', 'draft', file, '--out', desk.register, '--force'];
    const { out } = await run(...again);
    expect(out).toMatch(/^pages +1: 1 with HTTPS closed to the whole host$/m);
    expect(out).toMatch(/^redirects +1, to the notice page$/m);
    const json = await runJson(...again);
    expect(json).toMatchObject({ entries: 4, pages: 1, httpOnlyPages: 0, redirects: 1 });
    const shown = await run('notice', 'show', json.payload);
    expect(shown.out).toMatch(/^https +closed to the whole host of every page$/m);
    expect(shown.out).toMatch(/^pages +1: 1 with HTTPS closed/m);
    expect(shown.out).toContain('exact    phishing-kit.example, redirected to the notice page');
    const listed = await runJson('notice', 'show', json.payload);
    expect(listed).toMatchObject({ pages: 1, httpOnlyPages: 0, redirects: 1, statement: { https: 'block-host' } });
  });

  it('does not replace a payload unless told to', async () => {
    const { payload } = await draft(sample('scam-phishing.yaml'));
    const before = readFileSync(payload);
    const again = ['notice', 'draft', sample('scam-phishing.yaml'), '--out', desk.register];
    expect(await run(...again)).toMatchObject({ exitCode: 1, error: 'store-failed', out: '' });
    expect(readFileSync(payload).equals(before)).toBe(true);
    expect(await run(...again, '--force')).toMatchObject({ exitCode: 0 });
    expect(readFileSync(payload).equals(before)).toBe(false);
  });

  it('drafts a change, which has no annex', async () => {
    const file = change('halt', 'instrument: cma-263\nfrom: now\nuntil: 7d\n');
    const told = await draft(file);
    expect(told).toMatchObject({ type: 'halt', reference: 'MCMC/2026/C1', refused: [] });
    expect(told.annex).toBeUndefined();
    expect(readdirSync(desk.register)).not.toContain('annexes');
  });

  it.each([
    ['a wrong key', () => desk.write('d.yaml', editSample('scam-phishing.yaml', 'offence:', 'offense:')), 'offen'],
    [
      'a name that is none',
      () => desk.write('d.yaml', editSample('gambling-scam.yaml', 'lucky-spin.test', '-*-')),
      '-*-',
    ],
    ['a file that is not there', () => desk.path('absent.yaml'), 'absent.yaml'],
    ['a folder', () => desk.folder, 'EISDIR'],
  ])('refuses %s and names it', async (_case, file, named) => {
    const { exitCode, message } = await run('notice', 'draft', file(), '--out', desk.path('out'));
    expect(exitCode).toBe(1);
    expect(message).toContain(named);
  });

  it('keeps the names of a sealed notice to itself', async () => {
    const text = editSample('mixed-hosts.yaml', 'names:', 'sealed: true\nnames:');
    const { out } = await run('notice', 'draft', desk.write('sealed.yaml', text), '--out', desk.register);
    expect(out).toContain('(sealed): a public suffix is never blocked');
    expect(out).not.toContain('github.io');
    const payload = join(desk.register, 'MCMC-2026-000104.payload.json');
    for (const words of [
      ['show', payload],
      ['sign', payload, '--key', desk.one, '--out', desk.path('e.json')],
    ]) {
      const { exitCode, out: shown } = await run('notice', ...words);
      expect(exitCode).toBe(0);
      expect(shown).toContain('sealed');
      expect(shown).not.toContain('phishing-kit');
    }
    expect((await runJson('notice', 'show', payload)).entries).toBeUndefined();
  });
});

describe('warta notice sign', () => {
  it('shows what is signed, first', async () => {
    const { payload } = await draft(sample('scam-phishing.yaml'));
    const envelope = desk.path('e.json');
    const { out } = await run('notice', 'sign', payload, '--key', desk.one, '--out', envelope);
    const [summary, result] = [out.indexOf('scam-bank.example'), out.indexOf('1 added')];
    expect(summary).toBeGreaterThan(-1);
    expect(result).toBeGreaterThan(summary);
    expect(out).toContain('MCMC/2026/000101');
  });

  it('lets each officer add a signature to the same file', async () => {
    const { payload, id } = await draft(sample('scam-phishing.yaml'));
    const envelope = join(desk.register, 'statements', 'x.json');
    await run('notice', 'sign', payload, '--key', desk.one, '--out', envelope);
    expect(await verifyRegister()).toMatchObject({ exitCode: 1 });
    const told = await runJson('notice', 'sign', envelope, '--key', desk.two, '--out', envelope);
    expect(told).toMatchObject({ id, added: 1 });
    const keyIds = [desk.one, desk.two].map((path) => publicKeyOf(readPrivateKey(path)));
    expect(told.signatures).toEqual(keyIds.map((keyId) => ({ keyId, byLabelledKey: true })));
    expect(await verifyRegister()).toMatchObject({ exitCode: 0 });
  });

  it('adds nothing when the key signed before', async () => {
    const { envelope } = await publish(sample('scam-phishing.yaml'), [desk.one]);
    const before = readFileSync(envelope);
    const { out } = await run('notice', 'sign', envelope, '--key', desk.one, '--out', envelope);
    expect(out).toContain('1 (0 added, the others were there)');
    expect(readFileSync(envelope).equals(before)).toBe(true);
  });

  it('refuses one key under two file names', async () => {
    const { payload } = await draft(sample('scam-phishing.yaml'));
    const copy = desk.path('copy.pem');
    copyFileSync(desk.one, copy);
    const words = ['notice', 'sign', payload, '--key', desk.one, '--key', copy, '--out', desk.path('e.json')];
    expect(await run(...words)).toMatchObject({ exitCode: 1, error: 'key-invalid' });
    expect(readdirSync(desk.folder)).not.toContain('e.json');
  });

  it("does not write over another officer's signature", async () => {
    const { payload } = await draft(sample('scam-phishing.yaml'));
    const envelope = desk.path('e.json');
    await run('notice', 'sign', payload, '--key', desk.one, '--out', envelope);
    const before = readFileSync(envelope);
    const second = await run('notice', 'sign', payload, '--key', desk.two, '--out', envelope);
    expect(second).toMatchObject({ exitCode: 1, error: 'store-failed', out: '' });
    expect(second.message).toContain('--force');
    expect(readFileSync(envelope).equals(before)).toBe(true);
  });

  it.each([
    ['a draft', () => sample('scam-phishing.yaml'), 'statement-malformed', 'warta notice draft'],
    ['JSON of another kind', () => desk.write('p.json', '{"type":"notice"}'), 'statement-malformed', 'statement:'],
    ['a payload not in canonical form', () => desk.write('p.json', '{ }'), 'statement-not-canonical', 'RFC 8785'],
    ['an oversized file', () => desk.write('p.json', ' '.repeat(65_537)), 'statement-oversized', '65536'],
  ])('refuses %s', async (_case, file, code, named) => {
    const signed = await run('notice', 'sign', file(), '--key', desk.one, '--out', desk.path('e.json'));
    expect(signed).toMatchObject({ exitCode: 1, error: code, out: '' });
    expect(signed.message).toContain(named);
  });

  it('refuses to sign a notice whose annex was changed', async () => {
    const { payload, annex } = await draft(sample('scam-phishing.yaml'));
    writeFileSync(annex, readFileSync(annex, 'utf8').replaceAll('scam-bank', 'good-bank'));
    const signed = await run('notice', 'sign', payload, '--key', desk.one, '--out', desk.path('e.json'));
    expect(signed).toMatchObject({ exitCode: 1, error: 'annex-mismatch' });
    expect(readdirSync(desk.folder)).not.toContain('e.json');
  });
});

describe('warta notice verify', () => {
  it('judges a register, lists what is refused and counts what is in force', async () => {
    for (const name of readdirSync(SAMPLES)) await publish(sample(name));
    const { exitCode, out } = await verifyRegister();
    expect(exitCode).toBe(0);
    expect(out.match(/^ok /gm)).toHaveLength(4);
    expect(out).toContain('MCMC-2026-000101.json: notice MCMC/2026/000101, signed by officer-one, officer-two');
    expect(out).toMatch(/refused .*e0000003 .*github\.io: a public suffix is never blocked/);
    expect(out).toMatch(/^statements +4, none void$/m);
    expect(out).toMatch(/^in force +8 entries by 10 rules at /m);
    expect(out).toMatch(/^pages +1: 1 on HTTP alone/m);
    const report = await runJson('notice', 'verify', '--directory', desk.register);
    expect(report).toMatchObject({ void: 0, entriesInForce: 8, rulesInForce: 10, rulesLater: 0 });
    expect(report).toMatchObject({ pagesInForce: 1, httpOnlyPagesInForce: 1, redirectsInForce: 0 });
    expect(report.refused).toHaveLength(2);
  });

  it('gives one code and one reason for a void statement, and the others stand', async () => {
    await publish(sample('gambling-scam.yaml'));
    await publish(sample('scam-phishing.yaml'), [desk.one]);
    writeFileSync(join(desk.register, 'statements', 'junk.json'), '{}');
    const { exitCode, out } = await verifyRegister();
    expect(exitCode).toBe(1);
    expect(out).toMatch(/^ok +MCMC-2026-000102\.json/m);
    expect(out).toMatch(/^void +MCMC-2026-000101\.json: \[statement-unsigned\] 1 of 2 signatures/m);
    expect(out).toMatch(/^void +junk\.json: \[statement-malformed\] no DSSE envelope/m);
    expect(out).toMatch(/^statements +3, 2 void$/m);
    expect(out).toMatch(/^in force +2 entries by 2 rules/m);
  });

  it('counts a key once, whatever labels its signatures carry', async () => {
    const { payload } = await draft(sample('scam-phishing.yaml'));
    const bytes = readFileSync(payload);
    const envelope = JSON.parse(
      signEnvelope(bytes, [{ keyId: 'mcmc/officer-one', privateKey: readPrivateKey(desk.one) }]).toString(),
    );
    envelope.signatures.push({ ...envelope.signatures[0], keyid: 'mcmc/officer-two' });
    writeFileSync(join(desk.register, 'statements', 'twice.json'), JSON.stringify(envelope));
    const { statements } = await runJson('notice', 'verify', '--directory', desk.register);
    expect(statements).toMatchObject([{ ok: false, code: 'statement-unsigned' }]);
    expect(statements[0].reason).toContain('1 of 2');
  });

  it('judges files against pinned authorities, with annexes beside them or elsewhere', async () => {
    const { envelope } = await publish(sample('scam-phishing.yaml'));
    const lone = desk.path('lone');
    mkdirSync(lone);
    const moved = join(lone, 'x.json');
    copyFileSync(envelope, moved);
    const trust = ['--authorities', join(desk.register, 'authorities.json')];
    expect((await run('notice', 'verify', envelope, ...trust)).exitCode).toBe(0);
    const [verdict] = (await runJson('notice', 'verify', moved, ...trust)).statements;
    expect(verdict).toMatchObject({ name: moved, ok: false, code: 'annex-missing' });
    const annexes = ['--annexes', join(desk.register, 'annexes')];
    expect((await run('notice', 'verify', moved, ...trust, ...annexes)).exitCode).toBe(0);
  });

  it('judges a change against the register it is meant for', async () => {
    const { id } = await publish(sample('scam-phishing.yaml'));
    const { payload } = await draft(change('revocation', `notice: ${id}\nfrom: now\nentries: [e0000001]\n`));
    const envelope = desk.path('revocation.json');
    await run('notice', 'sign', payload, '--key', desk.one, '--out', envelope);
    const trust = ['--authorities', join(desk.register, 'authorities.json')];
    const alone = await runJson('notice', 'verify', envelope, ...trust);
    expect(alone.statements).toMatchObject([{ ok: false, code: 'statement-target-unknown' }]);
    const together = await runJson('notice', 'verify', envelope, '--directory', desk.register);
    expect(together).toMatchObject({ void: 0, entriesInForce: 2 });
  });

  it('counts for the licensee and the time asked for', async () => {
    const text = editSample('scam-phishing.yaml', '{ all: true }', '{ licensees: [NSP-1] }');
    await publish(desk.write('d.yaml', text));
    const count = async (...words: string[]) => {
      const report = await runJson('notice', 'verify', '--directory', desk.register, ...words);
      return [report.entriesInForce, report.rulesInForce];
    };
    expect(await count()).toEqual([0, 0]);
    expect(await count('--licensee', 'NSP-1')).toEqual([3, 5]);
    expect(await count('--licensee', 'NSP-2')).toEqual([0, 0]);
    expect(await count('--licensee', 'NSP-1', '--at', '2100-01-01T00:00:00Z')).toEqual([0, 0]);
  });

  it('tells rules that start later from those in force', async () => {
    await publish(desk.write('d.yaml', editSample('gambling-scam.yaml', 'effectiveFrom: now', 'effectiveFrom: 2d')));
    const report = await runJson('notice', 'verify', '--directory', desk.register);
    expect(report).toMatchObject({ void: 0, entriesInForce: 0, rulesInForce: 0, rulesLater: 2 });
  });

  it('does not let a file paint on the terminal', async () => {
    const green = '\u001b[32m';
    writeFileSync(
      join(desk.register, 'statements', `x${green}ok.json`),
      JSON.stringify({ payloadType: '', payload: '', signatures: [], [`${green}y`]: 1 }),
    );
    const { out } = await verifyRegister();
    expect(out).toContain('x\\u001b[32mok.json: [statement-malformed]');
    expect(out).toContain('\\u001b[32my');
  });

  it.each([
    ['no statements', () => [], 2, 'name files or give --directory'],
    ['files without authorities', () => ['x.json'], 2, '--authorities'],
    ['a wrong time', () => ['x.json', '--at', 'tomorrow'], 2, '2026-03-01T09:00:00Z'],
    ['a directory that is none', () => ['--directory', desk.path('absent')], 1, 'authorities.json'],
    ['a register without statements', () => ['--directory', withoutStatements()], 1, 'statements'],
    ['authorities of another pack', () => ['--directory', withOtherPack()], 1, 'policyPack.sha256'],
  ])('refuses %s', async (_case, words, exitCode, named) => {
    const outcome = await run('notice', 'verify', ...words());
    expect(outcome.exitCode).toBe(exitCode);
    expect(outcome.error + outcome.message).toContain(named);
  });
});

/** A folder with authorities alone. */
function withoutStatements(): string {
  const folder = desk.path('empty');
  mkdirSync(folder);
  copyFileSync(join(desk.register, 'authorities.json'), join(folder, 'authorities.json'));
  return folder;
}

/** A register whose authorities pin another policy pack. */
function withOtherPack(): string {
  const file = join(desk.register, 'authorities.json');
  writeFileSync(file, readFileSync(file, 'utf8').replace(packSha256, '0'.repeat(64)));
  return desk.register;
}

describe('warta notice show', () => {
  it('shows a payload, then an envelope with its signers', async () => {
    const { payload, id } = await draft(sample('scam-phishing.yaml'));
    const unsigned = await run('notice', 'show', payload);
    expect(unsigned.out).toMatch(/^signatures +none yet$/m);
    expect(unsigned.out).toContain(id);
    expect(unsigned.out).toContain('e0000002  subtree  invest-now.example, except complaints.invest-now.example');
    const envelope = desk.path('register', 'statements', 'e.json');
    await run('notice', 'sign', payload, '--key', desk.two, '--out', envelope);
    const trust = ['--authorities', join(desk.register, 'authorities.json')];
    expect((await run('notice', 'show', envelope, ...trust)).out).toMatch(/^signatures +mcmc\/officer-two \(/m);
    const shown = await runJson('notice', 'show', envelope);
    expect(shown.signatures).toEqual([{ keyId: publicKeyOf(readPrivateKey(desk.two)), byLabelledKey: true }]);
    expect(shown.entries).toHaveLength(3);
    expect(shown.statement.reference).toBe('MCMC/2026/000101');
  });

  it('does not believe the label of a signature', async () => {
    const { payload } = await draft(sample('scam-phishing.yaml'));
    const keyId = publicKeyOf(readPrivateKey(desk.two));
    const envelope = signEnvelope(readFileSync(payload), [{ keyId, privateKey: readPrivateKey(desk.one) }]);
    const { out } = await run('notice', 'show', desk.write('e.json', envelope));
    expect(out).toContain(`${keyId} (not by this key)`);
  });

  it('lists as many entries as asked for', async () => {
    const names = Array.from({ length: 30 }, (_, at) => `  - n${at}.example\n`).join('');
    const file = desk.write('many.yaml', editSample('gambling-scam.yaml', /^names:[\s\S]*/m, `names:\n${names}`));
    const { payload } = await draft(file);
    expect((await run('notice', 'show', payload)).out).toContain('… and 10 more');
    expect((await runJson('notice', 'show', payload, '--entries', '30')).entries).toHaveLength(30);
  });

  it('says so when the annex is not at hand', async () => {
    const { payload } = await draft(sample('scam-phishing.yaml'));
    const copy = desk.path('lone', 'payload.json');
    mkdirSync(desk.path('lone'));
    copyFileSync(payload, copy);
    expect((await run('notice', 'show', copy)).out).toContain('the annex is not in');
    const found = await run('notice', 'show', copy, '--annexes', join(desk.register, 'annexes'));
    expect(found.out).toContain('scam-bank.example');
  });

  const id = 'a'.repeat(64);
  it.each([
    [
      'stay',
      `target: { notice: ${id}, entries: [e1] }\nfrom: now\norder: { by: High Court, reference: WA-1 }`,
      /suspends entry e1 of notice a{64} from .* until resumed, by order of High Court \(WA-1\)/,
    ],
    [
      'stay',
      'target: { instrument: cma-263 }\nfrom: now\nuntil: 2d\norder: { by: X, reference: Y }',
      /suspends every notice under cma-263/,
    ],
    [
      'halt',
      'instrument: cma-263\nfrom: now',
      /suspends every notice under cma-263, later ones too, from .* until resumed/,
    ],
    ['resumption', `target: ${id}\nfrom: now`, /ends the stay or halt a{64} from/],
    ['revocation', `notice: ${id}\nfrom: now`, /ends notice a{64} for good from/],
    ['revocation', `notice: ${id}\nentries: [e1, e2]\nfrom: now`, /ends entries e1, e2 of notice a{64} for good/],
    [
      'variation',
      `notice: ${id}\nfrom: now\nremove: [e1]\nexclude: [{ entry: e2, names: [ok.bad.example] }]\nexpires: [{ entry: e3, at: 2d }]\nexpiresAt: 9d`,
      /removes entry e1; keeps ok\.bad\.example of entry e2 reachable; ends entry e3 at .*; ends the notice at/,
    ],
    [
      'exemption',
      'licensee: NSP-1\nscope: { category: online-scams }\nfrom: now\nuntil: 30d\nconditions: None.\nrequest: { reference: R1, receivedAt: now }',
      /frees NSP-1 from every notice of category online-scams from .* until .*; conditions: None\./,
    ],
    ['heartbeat', 'at: now', /shows that the register is alive at/],
  ])('says what a %s does', async (type, fields, effect) => {
    const { payload } = await draft(change(type, `${fields}\n`));
    const { exitCode, out } = await run('notice', 'show', payload);
    expect(exitCode).toBe(0);
    expect(out).toMatch(effect);
  });

  it('keeps control characters off the terminal', async () => {
    const reasons = 'reasons: { public: "good\\e[2K\\u009bbad" }';
    const file = desk.write('h.yaml', `type: heartbeat\nauthority: mcmc\nreference: H1\n${reasons}\nat: now\n`);
    const { payload } = await draft(file);
    expect((await run('notice', 'show', payload)).out).toContain('good\\u001b[2K\\u009bbad');
  });
});
