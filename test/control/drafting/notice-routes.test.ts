import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseAnnex } from '../../../src/register/annex.ts';
import { formatInstant, NO_END_SECONDS } from '../../../src/register/time.ts';
import type { ControlDesk, DeskAnswer } from '../../support/control-desk.ts';
import { COMPLETE, Drafting, nextReference, openDesk } from './fixture.ts';

const DAY = 86_400;

let desk: ControlDesk;
let drafting: Drafting;
beforeAll(async () => {
  desk = await openDesk();
  drafting = new Drafting(desk);
});
afterAll(() => desk?.close());

const said = ({ status, body }: DeskAnswer) => (status < 300 ? String(status) : `${status} ${body.code}`);
const annexes = () => desk.store.read(({ annexes }) => annexes.count());

/** Names of a draft as a reader sees them. */
async function namesOf(id: string): Promise<string[]> {
  const { body } = await desk.send('drafter', 'GET', `/v1/notices/${id}/entries?limit=1000`);
  return body.items.map(({ canonical, scope }: { canonical: string; scope: string }) => `${scope} ${canonical}`);
}

describe('names of a draft', () => {
  it('are uploaded, shown, and replaced', async () => {
    const draft = await drafting.open('notices', COMPLETE);
    const before = await annexes();
    const first = await drafting.upload(
      draft,
      'name,scope\nmünze.example,subtree\np.example,\n',
      'text/csv; charset=utf-8',
    );
    expect(first).toMatchObject({ status: 200, headers: { etag: '"2"' }, body: { entries: 2 } });
    expect(first.body.preview[0]).toEqual({
      id: 'e0000001',
      raw: 'münze.example',
      canonical: 'xn--mnze-0ra.example',
      unicode: 'münze.example',
      scope: 'subtree',
      action: 'block',
      warnings: ['münze may be taken for munze'],
    });
    const second = await drafting.upload({ id: draft.id, version: 2 }, '["q.example"]', 'application/json');
    expect(second.body).toMatchObject({ entries: 1, preview: [{ canonical: 'q.example' }] });
    expect(await annexes()).toBe(before + 1);
    expect((await drafting.read('notices', draft.id)).body.annexDigest).toBe(second.body.digest);
    const file = await desk.site.app.inject({
      url: `/v1/notices/${draft.id}/annex`,
      headers: { authorization: `Bearer ${desk.tokenOf('one')}` },
    });
    const { digest, entries, sizeBytes } = second.body;
    const table = parseAnnex(file.rawPayload, { digest, entries, sizeBytes, endSeconds: NO_END_SECONDS });
    expect(table.name(0)).toBe('q.example');
    await drafting.expectOk(drafting.step('drafter', 'notices', draft.id, 'withdraw'));
    expect(await annexes()).toBe(before);
  });

  it('come page by page', async () => {
    const names = Array.from({ length: 25 }, (_, at) => `n${at}.example`);
    const { id } = await drafting.notice(names.join('\n'));
    const read: string[] = [];
    let cursor = '';
    do {
      const { body } = await desk.send('one', 'GET', `/v1/notices/${id}/entries?limit=10${cursor}`);
      read.push(...body.items.map(({ canonical }: { canonical: string }) => canonical));
      cursor = body.next === undefined ? '' : `&cursor=${body.next}`;
    } while (cursor !== '');
    expect(read).toEqual(names);
  });

  it('are stored all or not at all', async () => {
    const draft = await drafting.open('notices', COMPLETE);
    const before = await annexes();
    const answer = await drafting.upload(draft, 'good.example\n*.bad.example\nfine.example\na b\n');
    expect(said(answer)).toBe('422 entries-invalid');
    expect(answer.body.errors.map(({ line }: { line: number }) => line)).toEqual([2, 4]);
    expect([await annexes(), (await drafting.read('notices', draft.id)).body.version]).toEqual([before, 1]);
  });

  it.each([
    ['another content type', 'application/xml', 'a.example', '415'],
    ['another charset', 'text/plain; charset=latin1', 'a.example', '400 request-invalid'],
    ['compressed bytes', 'text/plain', Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0]), '422 entries-invalid'],
    ['a NUL', 'text/plain', 'a\u0000.example', '422 entries-invalid'],
    ['no body', 'text/plain', '', '422 entries-invalid'],
  ])('are refused as %s', async (_what, type, body, expected) => {
    const draft = await drafting.open('notices', COMPLETE);
    const answer = await drafting.upload(draft, body as string, type);
    expect(said(answer)).toContain(expected);
    expect((await drafting.read('notices', draft.id)).body.annexDigest).toBeNull();
  });

  it('are refused without a content type', async () => {
    const draft = await drafting.open('notices', COMPLETE);
    const headers = { 'if-match': '"1"' };
    const answer = await desk.send('drafter', 'PUT', `/v1/notices/${draft.id}/entries`, undefined, headers);
    expect(said(answer)).toBe('400 request-invalid');
  });

  it('are not read from who may not list them', async () => {
    const draft = await drafting.open('notices', COMPLETE);
    expect(said(await drafting.upload({ id: draft.id, version: 7 }, 'a.example'))).toBe('412 version-mismatch');
    const path = `/v1/notices/${draft.id}/entries`;
    const bare = await desk.send('drafter', 'PUT', path, 'a.example', { 'content-type': 'text/plain' });
    expect(said(bare)).toBe('428 version-required');
    await drafting.expectOk(drafting.upload(draft, 'a.example'));
    await drafting.expectOk(drafting.step('drafter', 'notices', draft.id, 'propose'));
    expect(said(await drafting.upload({ id: draft.id, version: 3 }, 'b.example'))).toBe('409 draft-state');
  });

  it('of a sealed notice are not for auditors', async () => {
    const { id } = await drafting.notice('secret.example', { sealed: true, category: 'csam' });
    for (const path of ['entries', 'annex']) {
      expect(said(await desk.send('auditor', 'GET', `/v1/notices/${id}/${path}`))).toBe('403 forbidden');
      expect(said(await desk.send('one', 'GET', `/v1/notices/${id}/${path}`))).toBe('200');
    }
    expect(said(await desk.send('auditor', 'POST', `/v1/notices/${id}/preflight`))).toBe('403 forbidden');
    await drafting.expectOk(drafting.step('drafter', 'notices', id, 'preflight'));
    expect((await drafting.read('notices', id, 'auditor')).body.preflight).toBeNull();
    expect((await drafting.read('notices', id)).body.preflight).not.toBeNull();
    await drafting.publish('notices', id);
    const { statementId } = await drafting.settle('notices', id);
    expect(desk.site.services.register.findNotice(statementId)!.verified.statement.annex.sealed).toBe(true);
  });

  it('40,000 of them keep nobody waiting', async () => {
    const draft = await drafting.open('notices', COMPLETE);
    const names = Array.from({ length: 40_000 }, (_, at) => `subtree name-${at}.host-${at % 997}.example`).join('\n');
    let turns = 0;
    const timer = setInterval(() => turns++, 1);
    const { status, body } = await drafting.upload(draft, names);
    clearInterval(timer);
    expect([status, body.entries]).toEqual([200, 40_000]);
    // What composes them is another thread: this one went on with other things meanwhile.
    expect(turns).toBeGreaterThan(10);
  });
});

describe('the pre-flight of a draft', () => {
  const find = (body: { findings: { check: string }[] }, check: string) =>
    body.findings.find((finding) => finding.check === check);

  it('is kept until what it looked at changes', async () => {
    const { id, version } = await drafting.notice('github.io');
    const { headers, body } = await drafting.step('one', 'notices', id, 'preflight');
    expect(body).toMatchObject({ entries: 1, refused: true, popularChecked: false, namesAsked: false });
    expect(find(body, 'public-suffix')).toMatchObject({ level: 'refuse', overridable: false, entries: ['e0000001'] });
    expect(headers.etag).toBe(`"${version + 1}"`);
    const { refused: _, approvalsNeeded: __, ...report } = body;
    expect((await drafting.read('notices', id)).body.preflight).toEqual(report);
    await drafting.expectOk(drafting.upload({ id, version: version + 1 }, 'a.example'));
    expect((await drafting.read('notices', id)).body.preflight).toBeNull();
  });

  it('of an auditor leaves no trace', async () => {
    const { id, version } = await drafting.notice('github.io');
    const { status, body } = await drafting.step('auditor', 'notices', id, 'preflight');
    expect([status, body.refused]).toEqual([200, true]);
    expect((await drafting.read('notices', id)).body).toMatchObject({ version, preflight: null });
  });

  it('of a sealed notice sends no name to a resolver for an auditor', async () => {
    const asked: string[] = [];
    const askName = async (name: string) => {
      asked.push(name);
      return 'alive';
    };
    Object.assign(desk.site.services, { preflight: { askName } });
    const { id } = await drafting.notice('secret-of-none.example', { sealed: true, category: 'csam' });
    const body = { askNames: true };
    expect(said(await drafting.step('auditor', 'notices', id, 'preflight', body))).toBe('403 forbidden');
    expect(asked).toEqual([]);
    await drafting.expectOk(drafting.step('one', 'notices', id, 'preflight', body));
    expect(asked).toEqual(['secret-of-none.example']);
    Object.assign(desk.site.services, { preflight: undefined });
  });

  it('knows what the register blocks already, and which references it has', async () => {
    const reference = nextReference();
    const { id } = await drafting.notice('subtree wide.example\nexact.example', { reference });
    await drafting.publish('notices', id);
    await drafting.settle('notices', id);
    const { id: next } = await drafting.notice('a.wide.example\nexact.example\nsubtree exact.example\nother.example');
    await desk.store.transaction(({ drafts }) => drafts.update(next, { reference }));
    const { body } = await drafting.step('one', 'notices', next, 'preflight');
    expect(find(body, 'overlap')).toMatchObject({
      level: 'warn',
      message: `blocked already by notice ${reference}`,
      entries: ['e0000001', 'e0000002'],
      count: 2,
    });
    expect(find(body, 'reference-used')).toMatchObject({ level: 'refuse', overridable: true });
  });

  it('can be overridden by an officer with a reason, which the signed notice carries, and a third person', async () => {
    const { id } = await drafting.notice('connect.facebook.net');
    const path = 'overrides';
    const override = { check: 'shared-resource', reason: 'The court named this very host.' };
    expect(said(await drafting.step('drafter', 'notices', id, path, override))).toBe('403 forbidden');
    await drafting.expectOk(drafting.step('drafter', 'notices', id, 'propose'));
    expect(said(await drafting.step('one', 'notices', id, 'approve'))).toBe('422 preflight-refused');
    for (const check of ['public-suffix', 'nothing-such']) {
      expect(said(await drafting.step('one', 'notices', id, path, { ...override, check }))).toBe('400 request-invalid');
    }
    await drafting.expectOk(drafting.step('one', 'notices', id, path, override));
    expect(said(await drafting.step('two', 'notices', id, path, override))).toBe('409 conflict');
    expect((await drafting.step('one', 'notices', id, 'preflight')).body).toMatchObject({
      refused: false,
      approvalsNeeded: 2,
    });
    expect((await drafting.step('one', 'notices', id, 'approve')).body.state).toBe('proposed');
    expect((await drafting.step('two', 'notices', id, 'approve')).body.state).toBe('approved');
    const statement = JSON.parse((await drafting.payload('notices', id)).toString());
    expect(statement.overrides).toEqual([{ ...override, officer: 'one' }]);
  });

  it('asks for approvals anew once something was overridden: they were of other bytes', async () => {
    const { id } = await drafting.notice('connect.facebook.net\nmalaysiakini.com');
    const override = { check: 'shared-resource', reason: 'The court named this very host.' };
    await drafting.expectOk(drafting.step('drafter', 'notices', id, 'propose'));
    await drafting.expectOk(drafting.step('three', 'notices', id, 'approve'));
    const overridden = await drafting.step('one', 'notices', id, 'overrides', override);
    expect(overridden.body).toMatchObject({ state: 'proposed', approvals: [] });
    expect((await drafting.step('two', 'notices', id, 'approve')).body.state).toBe('proposed');
    expect((await drafting.step('three', 'notices', id, 'approve')).body.state).toBe('approved');
  });

  it('holds overrides for what they were given for', async () => {
    const { id } = await drafting.notice('connect.facebook.net');
    const override = { check: 'shared-resource', reason: 'The court named this very host.' };
    await drafting.expectOk(drafting.step('one', 'notices', id, 'overrides', override));
    const { version } = (await drafting.read('notices', id)).body;
    await drafting.expectOk(drafting.upload({ id, version }, 'connect.facebook.net\njs.stripe.com'));
    expect((await drafting.read('notices', id)).body.overrides).toEqual([]);
  });

  it('cannot be overridden where every node would refuse as well', async () => {
    const { id } = await drafting.notice('subtree maybank2u.com.my');
    const override = { check: 'protected-name', reason: 'We are sure.' };
    expect(said(await drafting.step('one', 'notices', id, 'overrides', override))).toBe('400 request-invalid');
    expect(said(await drafting.step('drafter', 'notices', id, 'propose'))).toBe('422 preflight-refused');
  });

  it('runs again at the last approval', async () => {
    const { id } = await drafting.notice('late.example', {
      term: { expires: formatInstant(desk.register.nowSeconds + DAY) },
    });
    await drafting.expectOk(drafting.step('drafter', 'notices', id, 'propose'));
    desk.clock!.pass(2 * DAY * 1000);
    desk.register.refreshTimestamp();
    const answer = await drafting.step('one', 'notices', id, 'approve');
    expect([said(answer), answer.body.errors]).toEqual([
      '422 preflight-refused',
      [{ path: 'term-ended', message: 'term.expires is not after dates.effectiveFrom' }],
    ]);
  });
});

describe('a renewal', () => {
  it('takes the names that are still blocked, salts them anew and names the old notice', async () => {
    const { id } = await drafting.notice('Keep.example\nsubtree broad.example\nlifted.example\nhttps://page.example/x');
    await drafting.publish('notices', id);
    const { statementId, annexDigest } = await drafting.settle('notices', id);
    const changes: [string, object][] = [
      ['revocations', { reasons: { public: 'x' }, notice: statementId, entries: ['e0000003'], from: 'now' }],
      [
        'variations',
        {
          reasons: { public: 'x' },
          notice: statementId,
          from: 'now',
          exclude: [{ entry: 'e0000002', names: ['ok.broad.example'] }],
        },
      ],
    ];
    for (const [collection, fields] of changes) {
      const draft = await drafting.open(collection, fields, 'reviewer');
      await drafting.expectOk(drafting.step('reviewer', collection, draft.id, 'propose'));
      await drafting.expectOk(drafting.sign(collection, draft.id, 'reviewer', undefined, 'reviewer'));
      await drafting.expectOk(drafting.step('reviewer', collection, draft.id, 'publish'));
      expect((await drafting.settle(collection, draft.id)).state).toBe('published');
    }
    expect(said(await drafting.step('drafter', 'notices', id, 'renew', {}))).toBe('400 request-invalid');
    const reference = nextReference();
    const answer = await drafting.step('drafter', 'notices', id, 'renew', { reference });
    expect(answer.status).toBe(201);
    const renewed = answer.body;
    expect(renewed).toMatchObject({ state: 'draft', reference, draftedBy: 'drafter' });
    expect(renewed.body).toMatchObject({ supersedes: [statementId], term: { expires: '30d' }, instrument: 'cma-263' });
    expect(renewed.annexDigest).not.toBe(annexDigest);
    expect(await namesOf(renewed.id)).toEqual(['exact keep.example', 'subtree broad.example', 'url page.example']);
    const { items } = (await desk.send('drafter', 'GET', `/v1/notices/${renewed.id}/entries`)).body;
    expect(items.map(({ raw }: { raw: string }) => raw)).toEqual([
      'Keep.example',
      'broad.example',
      'https://page.example/x',
    ]);
    expect(items[1].excludes).toEqual(['ok.broad.example']);
    const { findings } = (await drafting.step('drafter', 'notices', renewed.id, 'preflight')).body;
    expect(findings.map(({ check }: { check: string }) => check)).not.toContain('overlap');
    await drafting.publish('notices', renewed.id);
    await drafting.settle('notices', renewed.id);
    const standing = desk.site.services.register.standingOf(statementId, desk.register.nowSeconds);
    expect(standing?.state).toBe('in-force');
    expect(said(await drafting.step('drafter', 'notices', id, 'renew', { reference }))).toBe('409 conflict');
  });

  it('keeps what becomes of names and pages, and of HTTPS', async () => {
    const { id } = await drafting.notice(
      'redirect subtree lead.example\nany-query http://page.example/x\nhttp://page.example/y',
      { https: 'block-host' },
    );
    await drafting.publish('notices', id);
    const { statementId } = await drafting.settle('notices', id);
    expect(await desk.site.services.register.readStatement(statementId)).toMatchObject({ https: 'block-host' });
    const answer = await drafting.step('drafter', 'notices', id, 'renew', { reference: nextReference() });
    expect(answer.body.body).toMatchObject({ https: 'block-host' });
    const { items } = (await desk.send('drafter', 'GET', `/v1/notices/${answer.body.id}/entries`)).body;
    expect(items).toMatchObject([
      { scope: 'subtree', action: 'redirect', raw: 'lead.example' },
      { scope: 'url', action: 'block', query: 'any', url: 'http://page.example/x' },
      { scope: 'url', action: 'block', url: 'http://page.example/y' },
    ]);
    expect(items[2]).not.toHaveProperty('query');
    const open = await drafting.open('notices', { ...COMPLETE, https: 'block-host' });
    const path = `/v1/notices/${open.id}`;
    const patch = (version: number, https: unknown) =>
      desk.send('drafter', 'PATCH', path, { https }, { 'if-match': `"${version}"` });
    expect(said(await patch(1, 'block-page'))).toBe('400 request-invalid');
    expect((await patch(1, null)).body.body).not.toHaveProperty('https');
  });

  it('is for what is published and not over', async () => {
    const { id } = await drafting.notice('never.example');
    const reference = nextReference();
    expect(said(await drafting.step('drafter', 'notices', id, 'renew', { reference }))).toBe('409 draft-state');
    await drafting.publish('notices', id);
    const { statementId } = await drafting.settle('notices', id);
    const fields = { reasons: { public: 'x' }, notice: statementId, from: 'now' };
    const { id: revocation } = await drafting.open('revocations', fields, 'reviewer');
    await drafting.expectOk(drafting.step('reviewer', 'revocations', revocation, 'propose'));
    await drafting.expectOk(drafting.sign('revocations', revocation, 'reviewer', undefined, 'reviewer'));
    await drafting.expectOk(drafting.step('reviewer', 'revocations', revocation, 'publish'));
    await drafting.settle('revocations', revocation);
    expect(said(await drafting.step('drafter', 'notices', id, 'renew', { reference }))).toBe('409 draft-state');
  });
});
