import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { Finding } from '../../src/audit/finding.ts';
import { findInObserved, parseObserved } from '../../src/audit/observed-names.ts';
import { readReceipts } from '../../src/audit/receipt-files.ts';
import { auditReceipts } from '../../src/audit/receipt-findings.ts';
import { findInRegister } from '../../src/audit/register-findings.ts';
import type { AuthoritiesFile } from '../../src/register/authorities.ts';
import { composeCanonical } from '../../src/register/canonical.ts';
import { parseEnvelope, signEnvelope } from '../../src/register/envelope.ts';
import { fold } from '../../src/register/fold.ts';
import { receiptPath } from '../../src/register/receipt.ts';
import { formatInstant } from '../../src/register/time.ts';
import { openMirror } from '../../src/sync/mirror.ts';
import { pack } from '../register/fixture.ts';
import { signerOf } from '../support/log-register.ts';
import { AuditDesk, DAY, HOUR, LICENSEE, ReceiptNode, START } from './fixture.ts';

const OTHER = 'NSP-TEST-2';

/** Audits a desk's register and receipts; an hour of silence and an hour for a release or a block are allowed. */
async function audit(desk: AuditDesk, url = desk.register.publicFolder) {
  const { register } = await desk.audit();
  const { nowSeconds } = desk;
  const mirror = openMirror(url);
  const book = await readReceipts(mirror, START, nowSeconds);
  await mirror.close();
  const expectations = { nowSeconds, releaseSeconds: HOUR, blockSeconds: HOUR, answerSeconds: 2 * HOUR };
  const receipts = auditReceipts(register, book, expectations);
  const own = findInRegister(register, { nowSeconds, silenceSeconds: HOUR });
  return { register, receipts, findings: [...own, ...receipts.findings] };
}

/** A finding in one line. */
const brief = ({ code, severity, reference, licensee, node }: Finding) =>
  [severity, code, reference, licensee, node].filter(Boolean).join(' ');

/** A register with a notice of three names for two days, and two nodes that obey it. */
async function createSound() {
  const desk = await AuditDesk.create();
  const nodes = [await ReceiptNode.enrol(desk), await ReceiptNode.enrol(desk, OTHER, 'jb-1')];
  const names = [{ subtree: 'bad.example' }, 'worse.example', { subtree: 'third.example' }];
  const notice = await desk.register.notice(names, { reference: 'N/1', term: { expires: '2d' } });
  const obey = async () => {
    desk.wait(30);
    for (const node of nodes) await node.apply();
  };
  await obey();
  return { desk, register: desk.register, nodes, first: nodes[0]!, obey, notice };
}

/** Lets hours pass with a heartbeat in each. */
async function beat(desk: AuditDesk, hours: number) {
  for (let passed = 0; passed < hours; passed++) {
    desk.wait(HOUR - 60);
    await desk.register.heartbeat();
  }
}

describe('a sound register', () => {
  it('has no finding, whatever was released, with nodes that obey', async () => {
    const { desk, register, notice, obey } = await createSound();
    await beat(desk, 1);
    const exclude = [{ entry: 'e0000001', names: ['ok.bad.example'] }];
    await register.publish({ type: 'variation', notice: notice.id, from: 'now', exclude, reference: 'V/1' });
    await obey();
    const secret = await register.notice(['secret.example'], { sealed: true, reference: 'N/2' });
    await obey();
    await register.stay(secret.id, '1d');
    await register.revoke(notice.id, ['e0000002']);
    await obey();
    await beat(desk, 2);
    const request = { reference: 'X', receivedAt: 'now' };
    const exemption = {
      type: 'exemption',
      licensee: OTHER,
      scope: { notice: notice.id },
      conditions: 'None.',
      request,
    };
    await register.publish({ ...exemption, from: 'now', until: '1d' });
    await obey();
    const { findings, receipts } = await audit(desk);
    expect(findings).toEqual([]);
    const times = receipts.timings.map(({ licensee, direction, applied, pending, maxSeconds }) =>
      [licensee, direction, applied, pending, maxSeconds].join(' '),
    );
    expect(times.sort()).toEqual([
      `${LICENSEE} block 1 0 30`,
      `${LICENSEE} release 3 0 30`,
      `${OTHER} block 1 0 30`,
      `${OTHER} release 4 0 30`,
    ]);
  });

  it('has none over HTTP either, where receipts are found by the lists of their days', async () => {
    const { desk, register, obey } = await createSound();
    await beat(desk, 26);
    await obey();
    const mirror = await register.serve();
    const list = 'receipts/_days/2026-03-01.txt';
    // A list may lead nowhere but to receipts.
    const stray = 'receipts/../x/secret.json\ncheckpoint\n';
    mirror.overrides.set(list, Buffer.concat([readFileSync(join(register.publicFolder, list)), Buffer.from(stray)]));
    const { findings } = await audit(desk, mirror.url);
    expect(findings).toEqual([]);
    expect(mirror.requests.get('receipts/_days/2026-03-02.txt')).toBe(1);
    expect(
      [...mirror.requests.keys()].filter((path) => path.endsWith('.json') && path.startsWith('receipts/')),
    ).toHaveLength(4);
  });

  it('has none while witnesses are away and nodes apply releases before they sign', async () => {
    const { desk, register, notice, first, obey } = await createSound();
    await beat(desk, 1);
    await obey();
    await register.withoutWitnesses(() => register.revoke(notice.id, ['e0000002']));
    desk.wait(30);
    const early = await first.apply();
    expect(early.statements.ok).toBe(early.treeSize + 1);
    await register.cosign();
    await obey();
    expect((await audit(desk)).findings).toEqual([]);
  });
});

/** Signs a statement whose form nobody could draft. */
function forge({ register }: AuditDesk, draft: object, change: object) {
  const signed = register.sign({ type: 'notice', names: ['x.example'], ...draft });
  const payload = { ...JSON.parse(parseEnvelope(signed.envelope).payload.toString()), ...change };
  return { ...signed, envelope: signEnvelope(composeCanonical(payload), [signerOf('one'), signerOf('two')]) };
}

/** Lists another officer with the key of one who is there. */
function addTwin(file: AuthoritiesFile, id: string, of: string) {
  const { officers } = file.authorities[0]!;
  officers.push({ ...officers.find((officer) => officer.id === of)!, id });
}

describe('findings in the register', () => {
  it('name a self-approval that slipped past the publisher, and one under another name', async () => {
    const { desk, register } = await createSound();
    await register.appendStatement(forge(desk, { reference: 'N/8' }, { draftedBy: 'one' }));
    register.changeAuthorities((file) => addTwin(file, 'twin', 'two'));
    const approvals = [{ officer: 'twin', role: 'approving-officer', at: 'now' }];
    await register.notice(['y.example'], { reference: 'N/9', draftedBy: 'two', approvals });
    const { findings } = await audit(desk);
    expect(findings.map(brief)).toEqual([
      'error self-approval N/8',
      'error self-approval N/9',
      'warning drafter-signed N/9',
    ]);
    expect(findings[0]).toMatchObject({ index: 1, evidence: { draftedBy: 'one', approvers: ['one'] } });
    expect(findings[1]).toMatchObject({ index: 2, signers: ['one', 'twin'], evidence: { approver: 'twin' } });
  });

  it('name overrides, reviews that are missing or overdue, silence, and what is void', async () => {
    const { desk, register, obey } = await createSound();
    const overrides = [{ check: 'size-breaker', officer: 'one', reason: 'Urgent.' }];
    await register.notice(['a.example'], { reference: 'N/2', overrides, term: { expires: '300d' } });
    const dates = { made: 'now', approved: 'now', effectiveFrom: 'now', reviewBy: '1h' };
    const reviewed = await register.notice(['b.example'], { reference: 'N/3', dates });
    await register.notice(['c.example'], { reference: 'N/4', dates });
    const endless = { reference: 'N/5', instrument: 'onsa-direction', term: { untilRevoked: true } };
    await register.appendStatement(register.sign({ type: 'notice', names: ['d.example'], ...endless }));
    await register.appendStatement(register.sign({ type: 'notice', names: ['e.example'], reference: 'N/6' }, ['one']));
    const lost = register.sign({ type: 'notice', names: ['f.example'], reference: 'N/7' });
    await register.appendStatement({ ...lost, annex: undefined });
    await register.appendRaw(Buffer.from('{}'));
    await register.revoke(reviewed.id);
    desk.wait(90 * 60);
    await register.heartbeat();
    await obey();
    const { findings } = await audit(desk);
    expect(findings.filter(({ code }) => !code.endsWith('-slow')).map(brief)).toEqual([
      'error review-missing N/5',
      'warning statement-void N/6',
      'error annex-missing N/7',
      'warning statement-void',
      'warning heartbeat-gap',
      'note review-missing N/2',
      'note override N/2',
      'warning review-overdue N/4',
    ]);
    const gap = findings.find(({ code }) => code === 'heartbeat-gap')!;
    expect(gap.evidence).toMatchObject({ from: formatInstant(START + 30), seconds: 5400, allowedSeconds: HOUR });
    desk.wait(2 * HOUR);
    const later = await audit(desk);
    expect(later.findings.filter(({ code }) => code === 'heartbeat-gap').map(({ summary }) => summary)).toEqual([
      'nothing came into the log from 2026-03-01T09:00:30Z to 2026-03-01T10:30:30Z',
      'nothing came into the log from 2026-03-01T10:30:30Z to now',
    ]);
  });

  it('name leaves that go back in time, missing witnesses, and trust that expired', async () => {
    const { desk, register } = await createSound();
    const signed = register.sign({ type: 'notice', names: ['x.example'], reference: 'N/2' });
    const signedSeconds = desk.nowSeconds;
    desk.wait(60);
    await register.heartbeat();
    await register.appendStatement(signed, signedSeconds);
    expect((await audit(desk)).findings.map(brief)).toEqual(['error leaf-backdated N/2']);
    desk.wait(1);
    await register.withoutWitnesses(() => register.heartbeat());
    const { findings } = await audit(desk);
    expect(findings.map(brief)).toEqual(['error checkpoint-unwitnessed', 'error leaf-backdated N/2']);
    desk.wait(8 * DAY);
    expect((await audit(desk)).findings.map(brief)).toContain('error trust-expired');
  });

  it('name a log that was cut or rewritten since it was read before', async () => {
    const { desk, register } = await createSound();
    const mirror = await register.serve();
    await desk.audit({ mirrors: [mirror.url] });
    mirror.freeze();
    await register.heartbeat();
    await desk.audit();
    const cut = await desk.audit({ mirrors: [mirror.url] });
    const terms = { nowSeconds: desk.nowSeconds, silenceSeconds: HOUR };
    expect(findInRegister(cut.register, terms)).toMatchObject([
      { code: 'log-broken', severity: 'error', evidence: { code: 'checkpoint-rolled-back' } },
    ]);
    const other = await AuditDesk.create();
    await other.register.notice(['other.example']);
    await other.register.heartbeat();
    const forked = await desk.audit({ mirrors: [other.register.publicFolder] });
    expect(findInRegister(forked.register, terms)).toMatchObject([
      { code: 'log-broken', severity: 'error', evidence: { code: 'checkpoint-inconsistent' } },
    ]);
  });
});

describe('findings in receipts', () => {
  it('name a rule that a node applied past its expiry, with notice, signers and licensee', async () => {
    const { desk, first, obey } = await createSound();
    const { rulesDigest } = await first.compose();
    await beat(desk, 49);
    await obey();
    desk.wait(60);
    await first.apply((receipt) => ({ ...receipt, rulesDigest }));
    const { findings } = await audit(desk);
    expect(findings.map(brief)).toEqual([`error expired-applied N/1 ${LICENSEE} kl-1`]);
    expect(findings[0]).toMatchObject({ signers: ['one', 'two'], index: 0, evidence: { receipts: 1 } });
    expect(findings[0]!.summary).toContain('still applied N/1');
  });

  it('name a rule past its expiry beside newer ones that are applied', async () => {
    const { desk, first, register, obey } = await createSound();
    await beat(desk, 47);
    await register.notice(['new.example'], { reference: 'N/2' });
    const { rulesDigest } = await first.compose();
    await obey();
    await beat(desk, 3);
    await obey();
    desk.wait(60);
    await first.apply((receipt) => ({ ...receipt, rulesDigest }));
    expect((await audit(desk)).findings.map(brief)).toEqual([`error expired-applied N/1 ${LICENSEE} kl-1`]);
  });

  it.each([
    ['a revocation', 'released-applied', (id: string) => ({ type: 'revocation', notice: id, from: 'now' })],
    [
      'an exclusion',
      'scope-wider',
      (id: string) => ({
        type: 'variation',
        notice: id,
        from: 'now',
        exclude: [{ entry: 'e0000001', names: ['ok.bad.example'] }],
      }),
    ],
    [
      'a stay',
      'released-applied',
      (id: string) => ({ type: 'stay', target: { notice: id }, from: 'now', order: { by: 'Court', reference: 'C/1' } }),
    ],
  ])('name %s that a node left out', async (_what, code, change) => {
    const { desk, first, notice, register } = await createSound();
    const { rulesDigest } = await first.compose();
    await register.publish({ ...change(notice.id), reference: 'C/9' });
    await register.notice(['later.example'], { reference: 'N/2' });
    desk.wait(30);
    await register.heartbeat();
    await first.apply((receipt) => ({ ...receipt, rulesDigest }));
    const { findings } = await audit(desk);
    expect(findings.map(brief)).toEqual([`error ${code} C/9 ${LICENSEE} kl-1`]);
    expect(findings[0]!.summary).toContain('without C/9, N/2');
  });

  it('name the one statement that a node left out', async () => {
    const { desk, first, notice, register } = await createSound();
    const { rulesDigest } = await first.compose();
    await register.notice(['later.example'], { reference: 'N/2' });
    desk.wait(30);
    await first.apply((receipt) => ({ ...receipt, rulesDigest }));
    await register.heartbeat();
    const beforeRelease = await first.compose();
    await register.publish({ type: 'revocation', notice: notice.id, from: 'now', reference: 'R/9' });
    desk.wait(30);
    await first.apply((receipt) => ({ ...receipt, rulesDigest: beforeRelease.rulesDigest }));
    expect((await audit(desk)).findings.map(brief)).toEqual([
      `error receipt-disagrees N/2 ${LICENSEE} kl-1`,
      `error released-applied R/9 ${LICENSEE} kl-1`,
    ]);
  });

  it('name a statement that a node left out while it applied later ones', async () => {
    const { desk, first, notice, register } = await createSound();
    await register.publish({ type: 'revocation', notice: notice.id, from: 'now', reference: 'R/9' });
    for (const number of [2, 3]) await register.notice([`n${number}.example`], { reference: `N/${number}` });
    desk.wait(30);
    const { register: audited } = await desk.audit();
    const { statements } = audited.read();
    const others = statements.filter(({ statement }) => statement.reference !== 'R/9');
    const rulesDigest = audited.digestOf(fold(others, LICENSEE, desk.nowSeconds));
    await first.apply((receipt) => ({ ...receipt, rulesDigest }));
    const { findings } = await audit(desk);
    expect(findings.map(brief)).toEqual([`error released-applied R/9 ${LICENSEE} kl-1`]);
    expect(findings[0]!.summary).toContain('without R/9:');
  });

  it('name a list that nothing explains, another count of rules, another log, a longer log, and who only watches', async () => {
    const { desk, first, nodes, register } = await createSound();
    const steps: ((receipt: Awaited<ReturnType<ReceiptNode['compose']>>) => object)[] = [
      () => ({ rulesDigest: 'ab'.repeat(32) }),
      ({ rules }) => ({ rules: rules + 1 }),
      () => ({ rootHash: 'cd'.repeat(32) }),
      ({ treeSize }) => ({ treeSize: treeSize + 7 }),
      () => ({ mode: 'observe' }),
    ];
    for (const step of steps) {
      await register.heartbeat();
      desk.wait(30);
      await first.apply((receipt) => ({ ...receipt, ...step(receipt) }));
    }
    await nodes[1]!.apply();
    const { findings } = await audit(desk);
    expect(findings.map(brief)).toEqual([
      `error receipt-disagrees ${LICENSEE} kl-1`,
      `error receipt-disagrees ${LICENSEE} kl-1`,
      `error log-forked ${LICENSEE} kl-1`,
      `error log-shrunk ${LICENSEE} kl-1`,
      `note node-observing ${LICENSEE} kl-1`,
    ]);
    expect(findings[1]!.evidence).toMatchObject({ expected: { rules: 3 }, found: { rules: 4 } });
  });

  it('believe a node that says what it held back, and tell of it', async () => {
    const { desk, first, register, nodes } = await createSound();
    const { rulesDigest } = await first.compose();
    const stopped = await register.notice(['new.example'], { reference: 'N/2' });
    desk.wait(30);
    const rejected = [{ statement: `#${stopped.index}`, code: 'annex-missing', reason: 'its annex cannot be used' }];
    const statements = { ok: 1, void: 1 };
    await first.apply((receipt) => ({ ...receipt, rulesDigest, rejected, statements }));
    await nodes[1]!.apply();
    expect((await audit(desk)).findings.map(brief)).toEqual([`warning receipt-held N/2 ${LICENSEE} kl-1`]);
    // What a receipt rejects it does not apply, whatever tree it states.
    await beat(desk, 2);
    const { findings } = await audit(desk);
    expect(findings.map(brief)).toContain(`warning block-slow N/2 ${LICENSEE} kl-1`);
    expect(findings.map(brief)).not.toContain(`warning block-slow N/2 ${OTHER} jb-1`);
  });

  it('measure releases and blocks at each licensee, and name what was slow or never came', async () => {
    const { desk, register, nodes, obey } = await createSound();
    await desk.register.heartbeat();
    await obey();
    const dates = { made: 'now', approved: 'now', effectiveFrom: 'now', complyBy: '3h' };
    const lenient = await register.notice(['a.example'], { reference: 'N/2', dates });
    await register.notice(['b.example'], { reference: 'N/3' });
    await register.revoke(lenient.id);
    await nodes[0]!.apply();
    await beat(desk, 2);
    await nodes[1]!.apply();
    await register.stay(lenient.id, '1d');
    await beat(desk, 1);
    desk.wait(2 * HOUR - 60);
    await register.heartbeat();
    await nodes[0]!.apply();
    const { findings, receipts } = await audit(desk);
    expect(findings.filter(({ code }) => code !== 'heartbeat-gap').map(brief)).toEqual([
      `error release-slow TEST/CHANGE ${LICENSEE} kl-1`,
      `warning block-slow N/3 ${OTHER} jb-1`,
      `error release-slow TEST/CHANGE ${OTHER} jb-1`,
      `error release-slow TEST/CHANGE ${OTHER} jb-1`,
      `warning node-silent ${OTHER} jb-1`,
    ]);
    const slow = receipts.timings.find(({ licensee, direction }) => licensee === OTHER && direction === 'release');
    expect(slow).toMatchObject({ applied: 1, pending: 1, maxSeconds: 2 * (HOUR - 60) });
  });

  it('name files that are no receipts of an enrolled node', async () => {
    const { desk, register, first } = await createSound();
    const folder = join(register.publicFolder, 'receipts/x/y');
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, '1.json'), '{}');
    const stranger = await ReceiptNode.enrol(await AuditDesk.create(), LICENSEE, 'stranger');
    expect(stranger.node).toBe('stranger');
    const honest = join(register.publicFolder, receiptPath(await first.compose()));
    const [some] = readdirSync(join(honest, '..'));
    const bytes = readFileSync(join(honest, '..', some!));
    const forged = JSON.parse(bytes.toString());
    forged.signatures[0].sig = Buffer.alloc(64).toString('base64');
    writeFileSync(join(folder, '2.json'), JSON.stringify(forged));
    const { findings } = await audit(desk);
    expect(findings.map(({ code, evidence }) => [code, evidence.path])).toEqual([
      ['receipt-invalid', 'receipts/x/y/1.json'],
      ['receipt-invalid', 'receipts/x/y/2.json'],
    ]);
  });
});

describe('findings about pages', () => {
  const PAGES = [{ url: 'http://paged.example/one' }, { url: 'http://paged.example/two', query: 'any' }];

  it('name notices whose pages hold on HTTP alone, while they are in force', async () => {
    const { desk, register } = await createSound();
    const open = await register.notice([...PAGES, 'name.example'], { reference: 'P/1' });
    await register.notice(PAGES, { reference: 'P/2', https: 'block-host' });
    const { findings } = await audit(desk);
    expect(findings.map(brief)).toEqual(['note pages-http-only P/1']);
    expect(findings[0]).toMatchObject({ evidence: { pages: 2 }, signers: ['one', 'two'] });
    await register.revoke(open.id);
    expect((await audit(desk)).findings).toEqual([]);
  });

  it('name a node that sends their hosts to no gateway, by its last receipt', async () => {
    const { desk, register, first, obey } = await createSound();
    await register.notice(PAGES, { reference: 'P/1', https: 'block-host' });
    first.steersPages = false;
    await obey();
    const { findings } = await audit(desk);
    expect(findings.map(brief)).toEqual([`warning pages-unenforced ${LICENSEE} kl-1`]);
    expect(findings[0]).toMatchObject({ evidence: { pages: 2, httpOnlyPages: 0 } });
    await first.apply((receipt) => ({ ...receipt, mode: 'observe', appliedAt: formatInstant(desk.nowSeconds + 1) }));
    desk.wait(2);
    expect((await audit(desk)).findings.map(brief)).toEqual([`note node-observing ${LICENSEE} kl-1`]);
    first.steersPages = true;
    await obey();
    expect((await audit(desk)).findings).toEqual([]);
  });

  it.each([
    ['fewer pages', { entries: 1, httpOnly: 1, steered: true }],
    ['pages on HTTP alone that are not', { entries: 2, httpOnly: 1, steered: true }],
    ['none', undefined],
  ])('name a receipt that counts %s', async (_what, pages) => {
    const { desk, register, first } = await createSound();
    await register.notice(PAGES, { reference: 'P/1' });
    desk.wait(30);
    await first.apply((receipt) => ({ ...receipt, pages }));
    const found = (await audit(desk)).receipts.findings;
    expect(found.map(brief)).toEqual([`error receipt-disagrees ${LICENSEE} kl-1`]);
    expect(found[0]).toMatchObject({ evidence: { expected: { pages: 2, httpOnlyPages: 2 } } });
    expect(found[0]!.summary).toMatch(
      /counts [012] pages \([01] on HTTP alone\) in a list with 2 pages \(2 on HTTP alone\)/,
    );
  });

  it('name a receipt that counts pages where there are none', async () => {
    const { desk, first } = await createSound();
    desk.wait(30);
    await first.apply((receipt) => ({ ...receipt, pages: { entries: 1, httpOnly: 0, steered: true } }));
    expect((await audit(desk)).receipts.findings.map(brief)).toEqual([`error receipt-disagrees ${LICENSEE} kl-1`]);
  });

  it('know a page that was seen blocked from its host', async () => {
    const { desk, register } = await createSound();
    await register.notice(PAGES, { reference: 'P/1' });
    const gone = await register.notice([{ url: 'http://paged.example/gone' }], { reference: 'P/2' });
    desk.wait(60);
    await register.revoke(gone.id);
    const { register: audited } = await desk.audit();
    const list = [
      'http://paged.example/one',
      'HTTP://Paged.example:80/two',
      'http://bad.example/anything',
      'http://paged.example/three',
      'http://paged.example/gone',
      'paged.example,url,,P/2,id,e0000001,,,block,,passed,http://paged.example/gone',
      'paged.example,url,,P/9,id,e0000001,,,block,,passed,"http://paged.example/a,b"',
      '{"name":"paged.example","scope":"url","url":"http://paged.example/one"}',
      'paged.example',
    ];
    const terms = { licensee: LICENSEE, atSeconds: desk.nowSeconds, pack };
    const findings = findInObserved(audited, parseObserved(list.join('\n')), terms);
    expect(
      findings.map(({ code, reference, evidence }) => `${evidence.url ?? evidence.name} ${code} ${reference}`),
    ).toEqual([
      'http://paged.example/three off-register undefined',
      'http://paged.example/gone released-applied P/2',
      'http://paged.example/gone released-applied P/2',
      'http://paged.example/a,b off-register undefined',
      'paged.example scope-wider P/1',
    ]);
    expect(findings.at(-1)!.summary).toBe(
      'paged.example is blocked, and may not be: P/1 is about one page of it: http://paged.example/one, on HTTP alone',
    );
    expect(() => parseObserved('x,url,,N,i,e,,,block,,passed,ftp://x/')).toThrow('line 1: ftp://x/ is no http(s) URL');
  });
});

describe('findInObserved', () => {
  it('says of each name that was seen blocked whether it may be, and if not, by what', async () => {
    const { desk, register, notice } = await createSound();
    const exclude = [{ entry: 'e0000001', names: ['ok.bad.example'] }];
    await register.publish({ type: 'variation', notice: notice.id, from: 'now', exclude, reference: 'V/1' });
    await register.revoke(notice.id, ['e0000003']);
    await register.notice(['short.example'], { reference: 'N/2', term: { expires: '1h' } });
    await register.notice(['google.com'], { reference: 'N/3' });
    await register.notice(['theirs.example'], { reference: 'N/4', recipients: { licensees: [OTHER] } });
    desk.wait(2 * HOUR);
    await register.heartbeat();
    const { register: audited } = await desk.audit();
    const list = `
# seen on the resolver
bad.example
deep.bad.example
worse.example
*.worse.example
sub.worse.example
ok.bad.example
x.third.example
short.example
google.com
theirs.example
example
off.example
`;
    const terms = { licensee: LICENSEE, atSeconds: desk.nowSeconds, pack };
    const findings = findInObserved(audited, parseObserved(list), terms);
    expect(findings.map(({ code, reference, evidence }) => [evidence.name, code, reference].join(' '))).toEqual([
      'worse.example scope-wider N/1',
      'sub.worse.example scope-wider N/1',
      'ok.bad.example scope-wider N/1',
      'x.third.example released-applied N/1',
      'short.example expired-applied N/2',
      'google.com scope-wider N/3',
      'theirs.example off-register N/4',
      'example scope-wider N/1',
      'off.example off-register ',
    ]);
    expect(findings[2]!.summary).toContain('V/1');
    expect(findings[3]!.summary).toContain('revoked');
    await register.notice(['secret.example'], { sealed: true });
    const sealed = await desk.audit();
    const [off] = findInObserved(sealed.register, [{ name: 'off.example' }], terms);
    expect(off).toMatchObject({ severity: 'warning', code: 'off-register' });
  });

  it('reads plain names, CSV and JSON lines, and refuses what is no name', () => {
    expect(parseObserved('a.example\n\n*.b.example\nname,scope\nc.example,exact,x\nd.example subtree\n')).toEqual([
      { name: 'a.example', scope: undefined },
      { name: 'b.example', scope: 'subtree' },
      { name: 'c.example', scope: undefined },
      { name: 'd.example', scope: 'subtree' },
    ]);
    expect(parseObserved('(sealed),sealed,,N/2,id,2,,,,,,\n{"name":"(sealed)","scope":"sealed"}')).toEqual([]);
    expect(parseObserved('{"name":"e.example","scope":"subtree"}')).toEqual([{ name: 'e.example', scope: 'subtree' }]);
    expect(() => parseObserved('fine.example\nnot a/name')).not.toThrow();
    expect(() => parseObserved('fine.example\nno/name')).toThrow('line 2');
  });
});
