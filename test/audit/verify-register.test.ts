import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { diffRegister } from '../../src/audit/diff.ts';
import { findInRegister } from '../../src/audit/register-findings.ts';
import { replayRegister } from '../../src/audit/replay.ts';
import { verifyRegister } from '../../src/audit/verify-register.ts';
import { type Mirror, openMirror } from '../../src/sync/mirror.ts';
import { AuditDesk, HOUR, LICENSEE } from './fixture.ts';

const mirrors: Mirror[] = [];
afterAll(async () => {
  for (const mirror of mirrors) await mirror.close();
});

/** Verifies a desk's register against these mirrors, its own folder unless given. */
async function verify(desk: AuditDesk, urls = [desk.register.publicFolder]) {
  const { register } = await desk.audit();
  const opened = urls.map((url) => openMirror(url));
  mirrors.push(...opened);
  return verifyRegister(register, opened, desk.nowSeconds);
}

/** A register of a few statements; one of them does not count. */
async function createDesk() {
  const desk = await AuditDesk.create({ witnesses: 3, quorum: 2 });
  const notice = await desk.register.notice(['bad.example', 'worse.example'], { reference: 'N/1' });
  desk.wait(HOUR);
  await desk.register.revoke(notice.id, ['e0000001']);
  await desk.register.heartbeat();
  desk.wait(60);
  const alone = desk.register.sign({ type: 'notice', names: ['x.example'], reference: 'N/2' }, ['one']);
  await desk.register.appendStatement(alone);
  return desk;
}

describe('verifyRegister', () => {
  it('tells the log, its witnesses, trust, and every statement with its verdict', async () => {
    const desk = await createDesk();
    const report = await verify(desk);
    expect(report).toMatchObject({
      sound: true,
      origin: desk.register.origin,
      log: { leaves: 4, rootMatches: true, unwitnessed: 0, backdated: 0, first: '2026-03-01T09:00:00Z' },
      witnesses: { quorum: 2, known: 3 },
      trust: { versions: { root: 1 }, expired: false, authoritiesVersion: 1, policyPack: 'my-cma1998' },
      findings: [],
      counts: { good: 3, void: 1, unread: 0 },
      types: { notice: 1, revocation: 1, heartbeat: 1 },
    });
    expect(report.mirrors).toEqual([{ url: `${desk.register.publicFolder}/`, size: 4, files: 2 }]);
    expect(report.witnesses.cosignatures.length).toBeGreaterThanOrEqual(2);
    expect(
      report.statements.map(({ index, ok, type, reference, signers, code }) => [
        index,
        ok,
        type,
        reference,
        signers,
        code,
      ]),
    ).toEqual([
      [0, true, 'notice', 'N/1', ['one', 'two'], undefined],
      [1, true, 'revocation', 'TEST/CHANGE', ['one', 'two'], undefined],
      [2, true, 'heartbeat', 'HEARTBEAT/20260301T100000Z', ['heartbeat'], undefined],
      [3, false, 'notice', 'N/2', undefined, 'statement-unsigned'],
    ]);
  });

  it('counts redirects and pages, and those that hold on HTTP alone', async () => {
    const desk = await createDesk();
    const pages = [{ url: 'http://paged.example/1' }, { url: 'http://paged.example/2' }];
    await desk.register.notice([...pages, { subtree: 'lead.example', action: 'redirect' }], { reference: 'P/1' });
    await desk.register.notice([{ url: 'http://paged.example/1' }], { reference: 'P/2', https: 'block-host' });
    await desk.register.notice([{ url: 'http://secret.example/' }], { reference: 'P/3', sealed: true });
    expect((await verify(desk)).listed).toEqual({ entries: 6, redirects: 1, pages: 3, httpOnlyPages: 2 });
  });

  it('finds a mirror whose tile or bundle is wrong or gone, and tells which', async () => {
    const desk = await createDesk();
    const mirror = await desk.register.serve();
    mirror.overrides.set('tile/0/000.p/4', Buffer.alloc(4 * 32));
    const spoiled = await verify(desk, [mirror.url]);
    expect(spoiled).toMatchObject({ sound: false, findings: [{ code: 'mirror-differs', evidence: { count: 1 } }] });
    expect(spoiled.findings[0]!.summary).toContain('tile/0/000.p/4 differs');
    mirror.overrides.clear();
    mirror.fault = (path) => (path.startsWith('tile/entries') ? 'absent' : undefined);
    const removed = await verify(desk, [desk.register.publicFolder, mirror.url]);
    expect(removed.findings.map(({ summary }) => summary)).toEqual([
      expect.stringContaining('tile/entries/000.p/4 is not there'),
    ]);
    mirror.fault = () => undefined;
    expect((await verify(desk, [mirror.url])).findings).toEqual([]);
  });

  it('checks a log of several tiles, and takes a full tile where a partial one is gone', async () => {
    const desk = await AuditDesk.create();
    await desk.register.bulk({ statements: 300, entries: 1 });
    const { register } = await desk.audit();
    await desk.register.bulk({ statements: 300, entries: 1, first: 300 });
    for (const level of ['0', 'entries']) {
      for (const partial of ['000.p', '001.p']) {
        rmSync(join(desk.register.publicFolder, 'tile', level, partial), { recursive: true, force: true });
      }
    }
    const mirror = openMirror(desk.register.publicFolder);
    mirrors.push(mirror);
    const report = await verifyRegister(register, [mirror], desk.nowSeconds);
    expect(report).toMatchObject({
      sound: true,
      findings: [],
      log: { leaves: 300 },
      mirrors: [{ size: 600, files: 5 }],
    });
    const tile = join(desk.register.publicFolder, 'tile/0/001');
    const bytes = readFileSync(tile);
    rmSync(tile);
    writeFileSync(tile, Buffer.concat([bytes.subarray(32, 64), bytes.subarray(32)]));
    const spoiled = await verifyRegister(register, [mirror], desk.nowSeconds);
    expect(spoiled.findings.map(({ summary }) => summary)).toEqual([expect.stringContaining('tile/0/001 differs')]);
  });

  it('tells a mirror that is behind from one that shows another log', async () => {
    const desk = await createDesk();
    const mirror = await desk.register.serve();
    mirror.freeze();
    await desk.register.heartbeat();
    const behind = await verify(desk, [mirror.url]);
    expect(behind).toMatchObject({ sound: true, findings: [{ code: 'mirror-differs', severity: 'warning' }] });
    const other = await AuditDesk.create({ witnesses: 3, quorum: 2 });
    await other.register.notice(['other.example']);
    const forked = await verify(desk, [other.register.publicFolder]);
    expect(forked).toMatchObject({ sound: false, findings: [{ code: 'log-forked', severity: 'error' }] });
  });

  it('is not sound once trust has expired, or while a leaf goes back in time', async () => {
    const desk = await createDesk();
    expect(await verify(desk)).toMatchObject({ sound: true });
    desk.wait(8 * 24 * HOUR);
    expect(await verify(desk)).toMatchObject({ sound: false, trust: { expired: true } });
    const backdated = await createDesk();
    const signed = backdated.register.sign({ type: 'notice', names: ['y.example'] });
    const signedSeconds = backdated.nowSeconds;
    backdated.wait(600);
    await backdated.register.heartbeat();
    await backdated.register.appendStatement(signed, signedSeconds);
    const report = await verify(backdated);
    expect(report).toMatchObject({ sound: false, log: { backdated: 1 }, counts: { void: 2 } });
    expect(report.statements.at(-1)).toMatchObject({ ok: false, code: 'statement-backdated' });
  });

  it('finds a forged heartbeat, which changes nothing of a replay or a diff', async () => {
    const desk = await createDesk();
    const atSeconds = desk.nowSeconds;
    const ask = async () => {
      const { register } = await desk.audit();
      const replay = replayRegister(register, LICENSEE, atSeconds);
      const heartbeats = replay.passedOver;
      const changes = [...diffRegister(register, LICENSEE, atSeconds - 2 * HOUR, atSeconds)];
      const told = changes.map(({ change, name }) => `${change} ${name}`);
      const seen = register.read({ rulesOnly: true }).verdicts.map(({ index }) => index);
      return { register, seen, heartbeats, answer: [replay.rulesDigest, [...replay.rules()], told] };
    };
    const before = await ask();
    const heartbeat = { type: 'heartbeat', at: 'now', reference: 'H/1' };
    await desk.register.appendStatement(desk.register.sign(heartbeat, []));
    const after = await ask();
    expect(after.answer).toEqual(before.answer);
    expect(after.answer[1]).toHaveLength(1);
    expect([before.heartbeats, after.heartbeats]).toEqual([1, 2]);
    expect([before.seen, after.seen]).toEqual([
      [0, 1, 3],
      [0, 1, 3],
    ]);
    const report = await verifyRegister(after.register, [], atSeconds);
    expect(report.statements.at(-1)).toMatchObject({ index: 4, ok: false, code: 'statement-unsigned' });
    expect(report).toMatchObject({ counts: { good: 3, void: 2 }, types: { heartbeat: 1 } });
    const expectations = { nowSeconds: atSeconds, silenceSeconds: HOUR };
    const found = findInRegister((await ask()).register, expectations).filter(({ index }) => index === 4);
    expect(found).toMatchObject([{ code: 'statement-void', evidence: { code: 'statement-unsigned' } }]);
  });

  it('refuses a register from which entries were removed', async () => {
    const desk = await createDesk();
    const bundle = join(desk.register.publicFolder, 'tile/entries/000.p/4');
    const bytes = readFileSync(bundle);
    writeFileSync(bundle, bytes.subarray(2 + bytes.readUInt16BE(0)));
    await expect(desk.audit()).rejects.toMatchObject({ code: 'log-invalid' });
    rmSync(bundle);
    await expect(desk.audit()).rejects.toMatchObject({ code: 'log-invalid' });
    writeFileSync(bundle, bytes);
    expect((await verify(desk)).sound).toBe(true);
  });
});
