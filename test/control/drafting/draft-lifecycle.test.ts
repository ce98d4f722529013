import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createDraft } from '../../../src/control/drafting/draft-record.ts';
import { DRAFT_STATES, type DraftState } from '../../../src/control/store.ts';
import { hashHex } from '../../../src/register/canonical.ts';
import { DAY_SECONDS, formatInstant } from '../../../src/register/time.ts';
import type { ControlDesk, DeskAnswer } from '../../support/control-desk.ts';
import { COMPLETE, Drafting, nextReference, openDesk, STAY } from './fixture.ts';

let desk: ControlDesk;
let drafting: Drafting;
beforeAll(async () => {
  desk = await openDesk();
  drafting = new Drafting(desk);
});
afterAll(() => desk?.close());

/** What an answer was, in two words. */
const said = ({ status, body }: DeskAnswer) => (status < 300 ? body.state : `${status} ${body.code}`);

describe('from draft to register', () => {
  it('takes a notice with two signatures', async () => {
    const { id } = await drafting.notice(
      'scam-bank.example\nsubtree invest-now.example except help.invest-now.example',
    );
    const queued = await drafting.publish('notices', id);
    expect(queued).toMatchObject({ state: 'queued', draftedBy: 'drafter', signaturesNeeded: 2, signaturesMissing: 0 });
    const published = await drafting.settle('notices', id);
    expect(published).toMatchObject({ state: 'published', leafIndex: expect.any(Number), refusal: null });
    const { verified } = desk.site.services.register.find(published.statementId)!;
    expect(verified.signers).toEqual(['one', 'two']);
    expect(verified.statement).toMatchObject({ approvals: [{ officer: 'one' }], annex: { entries: 2, sealed: false } });
  });

  it('takes each type of change', async () => {
    const { id } = await drafting.notice('types.example');
    await drafting.publish('notices', id);
    const { statementId } = await drafting.settle('notices', id);
    const reasons = { public: 'A test.' };
    const entry = 'e0000001';
    const changes: [string, object][] = [
      ['stays', { ...STAY, target: { notice: statementId, entries: [entry] }, until: '3d' }],
      ['variations', { reasons, notice: statementId, from: 'now', expires: [{ entry, at: '2d' }] }],
      ['halts', { reasons, instrument: 'cma-211a', from: 'now', until: '1d' }],
      [
        'exemptions',
        {
          reasons,
          licensee: 'NSP-1',
          scope: { notice: statementId },
          from: 'now',
          until: '30d',
          conditions: 'None.',
          request: { reference: 'R-1', receivedAt: 'now' },
        },
      ],
      ['revocations', { reasons, notice: statementId, from: 'now' }],
    ];
    let halt = '';
    for (const [collection, fields] of changes) {
      const draft = await drafting.open(collection, fields, 'reviewer');
      expect(said(await drafting.step('reviewer', collection, draft.id, 'propose'))).toBe('approved');
      await drafting.expectOk(drafting.sign(collection, draft.id, 'reviewer', undefined, 'reviewer'));
      await drafting.expectOk(drafting.step('reviewer', collection, draft.id, 'publish'));
      const published = await drafting.settle(collection, draft.id);
      expect([collection, published.state, published.refusal]).toEqual([collection, 'published', null]);
      if (collection === 'halts') halt = published.statementId;
    }
    const { id: resumption } = await drafting.open('resumptions', { reasons, target: halt, from: 'now' });
    await drafting.publish('resumptions', resumption);
    expect((await drafting.settle('resumptions', resumption)).state).toBe('published');
    expect(desk.site.services.register.standingOf(statementId, desk.register.nowSeconds)?.state).toBe('revoked');
  });
});

type Act = 'edit' | 'withdraw' | 'propose' | 'approve' | 'return' | 'sign' | 'publish';

/** The states in which each step may be taken, and what comes of it. */
const STEPS: Record<Act, Partial<Record<DraftState, string>>> = {
  edit: { draft: 'draft' },
  withdraw: { draft: 'withdrawn', proposed: 'withdrawn', approved: 'withdrawn', refused: 'withdrawn' },
  propose: { draft: 'proposed' },
  approve: { proposed: 'approved' },
  return: { proposed: 'draft', approved: 'draft', refused: 'draft' },
  sign: { approved: 'approved' },
  publish: { approved: '422 statement-unsigned' },
};

const cases = (['notices', 'stays'] as const).flatMap((collection) =>
  (Object.keys(STEPS) as Act[]).flatMap((act) =>
    DRAFT_STATES.map((state) => [collection, act, state, STEPS[act][state] ?? '409 draft-state'] as const),
  ),
);

describe('every step in every state', () => {
  /** Brings a fresh draft into a state; those after the queue by writing it there. */
  async function bringTo(
    collection: 'notices' | 'stays',
    state: DraftState,
  ): Promise<{ id: string; payload?: Buffer }> {
    const { id } = collection === 'notices' ? await drafting.notice() : await drafting.stay();
    if (state === 'draft') return { id };
    await drafting.expectOk(drafting.step('drafter', collection, id, 'propose'));
    if (state === 'proposed') return { id };
    await drafting.expectOk(drafting.step('one', collection, id, 'approve'));
    const payload = await drafting.payload(collection, id);
    if (state !== 'approved') await desk.store.transaction(({ drafts }) => drafts.update(id, { state }));
    return { id, payload };
  }

  async function act(collection: string, id: string, what: Act, payload?: Buffer): Promise<DeskAnswer> {
    if (what === 'edit') {
      const { version } = (await drafting.read(collection, id)).body;
      const change = { reasons: { public: 'Another.' } };
      return desk.send('drafter', 'PATCH', `/v1/${collection}/${id}`, change, { 'if-match': `"${version}"` });
    }
    if (what === 'sign') return drafting.sign(collection, id, 'two', payload ?? Buffer.from('{}'));
    const user = { withdraw: 'drafter', propose: 'drafter', approve: 'two', return: 'two', publish: 'two' }[what];
    return drafting.step(user, collection, id, what, what === 'return' ? { reason: 'Not yet.' } : undefined);
  }

  it.each(cases)('%s: %s of what is %s: %s', async (collection, what, state, expected) => {
    const { id, payload } = await bringTo(collection, state);
    // One person approves once, whatever the state: so it is another one who tries here.
    expect(said(await act(collection, id, what, payload))).toBe(expected);
    const after = (await drafting.read(collection, id)).body;
    if (expected.startsWith('4')) expect(after.state).toBe(state);
    else expect(after.state).toBe(expected);
    if (what === 'return' && after.state === 'draft') {
      expect(after).toMatchObject({ approvals: [], signatures: [], overrides: [], statementId: null });
    }
  });
});

describe('four eyes', () => {
  it('keeps a drafter from approving, even with the role', async () => {
    const draft = await drafting.open(
      'resumptions',
      { reasons: { public: 'x' }, target: 'a'.repeat(64), from: 'now' },
      'one',
    );
    expect(said(await drafting.step('one', 'resumptions', draft.id, 'approve'))).toBe('403 self-approval');
  });

  it('counts one person once', async () => {
    const { id } = await drafting.notice('malaysiakini.com');
    const { body } = await drafting.step('drafter', 'notices', id, 'propose');
    expect(body.preflight.findings).toContainEqual(
      expect.objectContaining({ check: 'media-name', level: 'needs-third-approver', entries: ['e0000001'], count: 1 }),
    );
    expect(said(await drafting.step('one', 'notices', id, 'approve'))).toBe('proposed');
    expect(said(await drafting.step('one', 'notices', id, 'approve'))).toBe('409 approval-repeated');
    expect(said(await drafting.step('two', 'notices', id, 'approve'))).toBe('approved');
    const statement = JSON.parse((await drafting.payload('notices', id)).toString());
    expect(statement.approvals.map(({ officer }: { officer: string }) => officer)).toEqual(['one', 'two']);
  });

  it('does not take the approval of an officer whose time is over', async () => {
    const { id } = await drafting.notice();
    await drafting.expectOk(drafting.step('drafter', 'notices', id, 'propose'));
    desk.register.changeAuthorities((file) => {
      file.authorities[0]!.officers.find((officer) => officer.id === 'three')!.validUntil = formatInstant(
        desk.register.nowSeconds,
      );
    });
    expect(said(await drafting.step('three', 'notices', id, 'approve'))).toBe('403 forbidden');
    desk.register.changeAuthorities((file) => {
      file.authorities[0]!.officers.find((officer) => officer.id === 'three')!.validUntil = '2090-01-01T00:00:00Z';
    });
  });

  it('does not take it of a resumption either, which blocks anew', async () => {
    const stay = await drafting.stay('reviewer');
    await drafting.expectOk(drafting.step('reviewer', 'stays', stay.id, 'propose'));
    await drafting.expectOk(drafting.sign('stays', stay.id, 'reviewer', undefined, 'reviewer'));
    await drafting.expectOk(drafting.step('reviewer', 'stays', stay.id, 'publish'));
    const { statementId: target } = await drafting.settle('stays', stay.id);
    const { id } = await drafting.open('resumptions', { reasons: { public: 'Lifted.' }, target, from: 'now' });
    await drafting.expectOk(drafting.step('drafter', 'resumptions', id, 'propose'));
    const limitThree = (validUntil: string) =>
      desk.register.changeAuthorities((file) => {
        file.authorities[0]!.officers.find((officer) => officer.id === 'three')!.validUntil = validUntil;
      });
    limitThree(formatInstant(desk.register.nowSeconds));
    expect(said(await drafting.step('three', 'resumptions', id, 'approve'))).toBe('403 forbidden');
    limitThree('2090-01-01T00:00:00Z');
    expect(said(await drafting.step('three', 'resumptions', id, 'approve'))).toBe('approved');
  });

  it('knows the same key under another name', async () => {
    desk.register.changeAuthorities((file) => {
      const { officers } = file.authorities[0]!;
      const keyOf = (id: string) => officers.find((officer) => officer.id === id)!;
      keyOf('three').publicKey = keyOf('drafter').publicKey;
    });
    const { id } = await drafting.notice();
    await drafting.expectOk(drafting.step('drafter', 'notices', id, 'propose'));
    expect(said(await drafting.step('three', 'notices', id, 'approve'))).toBe('403 self-approval');
  });

  it('lets only who drafted edit, propose and list names', async () => {
    const { id, version } = await drafting.notice();
    const headers = { 'if-match': `"${version}"` };
    expect(said(await desk.send('one', 'PATCH', `/v1/notices/${id}`, { tags: [] }, headers))).toBe('403 forbidden');
    expect(said(await drafting.step('one', 'notices', id, 'propose'))).toBe('403 forbidden');
    expect(said(await drafting.upload({ id, version }, 'b.example', 'text/plain', 'one'))).toBe('403 forbidden');
    expect(said(await drafting.step('reviewer', 'notices', id, 'withdraw'))).toBe('403 forbidden');
    expect(said(await drafting.step('one', 'notices', id, 'withdraw', { reason: 'Left.' }))).toBe('withdrawn');
  });

  it('does not take the approval of someone whom authorities.json does not list', async () => {
    desk.register.changeAuthorities((file) => {
      const { officers } = file.authorities[0]!;
      officers.splice(
        officers.findIndex(({ id }) => id === 'three'),
        1,
      );
    });
    const { id } = await drafting.notice();
    await drafting.expectOk(drafting.step('drafter', 'notices', id, 'propose'));
    expect(said(await drafting.step('three', 'notices', id, 'approve'))).toBe('403 forbidden');
  });
});

describe('a draft of the server itself', () => {
  const reasons = { public: 'Its review is overdue.' };

  async function draftStay() {
    const actor = { id: 'system', roles: new Set(['public' as const]), authority: 'mcmc' };
    const body = { ...STAY, reasons, authority: 'mcmc', reference: nextReference() };
    const wanted = { type: 'stay', body, appealReference: null } as const;
    return desk.store.transaction((tables) => createDraft(tables, desk.site.services, actor, wanted));
  }

  it('stands before its approver at once', async () => {
    const { id, state, body } = await draftStay();
    expect([state, Object.keys(body).includes('authority')]).toEqual(['proposed', false]);
    expect(said(await drafting.step('reviewer', 'stays', id, 'approve'))).toBe('approved');
    expect(JSON.parse((await drafting.payload('stays', id)).toString())).toMatchObject({ authority: 'mcmc', reasons });
  });

  it('is approved as it was read, and not as it was changed since', async () => {
    const { id, version } = await drafting.notice();
    await drafting.expectOk(drafting.step('drafter', 'notices', id, 'propose'));
    const approve = (headers = {}) =>
      drafting.desk.send('one', 'POST', `/v1/notices/${id}/approve`, undefined, headers);
    expect(said(await approve())).toBe('428 version-required');
    expect(said(await approve({ 'if-match': `"${version}"` }))).toBe('412 version-mismatch');
    expect(said(await drafting.step('one', 'notices', id, 'approve'))).toBe('approved');
  });

  it('belongs to whoever changes it, who then cannot approve it', async () => {
    const { id } = await draftStay();
    await drafting.expectOk(drafting.step('one', 'stays', id, 'return', { reason: 'Shorter.' }));
    const edited = await desk.send('two', 'PATCH', `/v1/stays/${id}`, { until: '3d' }, { 'if-match': '"2"' });
    expect(edited.body).toMatchObject({ draftedBy: 'two', body: { until: '3d' } });
    expect(said(await drafting.step('two', 'stays', id, 'approve'))).toBe('403 self-approval');
  });
});

describe('a change of a sealed notice', () => {
  let notice: string;
  beforeAll(async () => {
    const { id } = await drafting.notice('subtree secret.example', { sealed: true });
    await drafting.publish('notices', id);
    notice = (await drafting.settle('notices', id)).statementId;
  });

  it.each([
    ['reasons', 'revocations', () => ({ notice, reasons: { public: 'See\nwww.Secret[.]example, now clean.' } })],
    ['order', 'stays', () => ({ ...STAY, target: { notice }, order: { by: 'Court', reference: 'secret.example' } })],
  ] as const)('does not have a name in its %s', async (_where, collection, fields) => {
    const draft = await drafting.open(collection, { from: 'now', ...fields() }, 'reviewer');
    expect(said(await drafting.step('reviewer', collection, draft.id, 'propose'))).toBe('400 request-invalid');
    const reasons = { public: 'Entry e0000001 is clean now, says example.org.' };
    const named = { reasons, order: { by: 'Court', reference: '1' } };
    const changes = collection === 'stays' ? named : { reasons };
    const headers = { 'if-match': '"1"' };
    await drafting.expectOk(desk.send('reviewer', 'PATCH', `/v1/${collection}/${draft.id}`, changes, headers));
    expect(said(await drafting.step('reviewer', collection, draft.id, 'propose'))).toBe('approved');
  });

  it('does not spell out what it excludes', async () => {
    const exclude = [{ entry: 'e0000001', names: ['ok.secret.example'] }];
    const fields = { reasons: { public: 'x' }, notice, from: 'now', exclude };
    const draft = await drafting.open('variations', fields, 'reviewer');
    expect(said(await drafting.step('reviewer', 'variations', draft.id, 'propose'))).toBe('422 statement-out-of-scope');
  });
});

describe('a draft', () => {
  it('may lack everything, and says what is missing when it is proposed', async () => {
    const { id } = await drafting.open('notices', {});
    const { status, body } = await drafting.step('drafter', 'notices', id, 'propose');
    expect([status, body.code]).toEqual([422, 'preflight-refused']);
    const missing = body.errors.map(({ message }: { message: string }) => message.split(':')[0]);
    for (const key of [
      'entries',
      'instrument',
      'dates.effectiveFrom',
      'term',
      'proportionality',
      'redress',
      'reasons',
    ]) {
      expect(missing).toContain(key);
    }
    const stay = await drafting.open('stays', { from: 'now' });
    expect(said(await drafting.step('drafter', 'stays', stay.id, 'propose'))).toBe('422 statement-malformed');
  });

  it('is changed key by key, by whoever read it last', async () => {
    const draft = await drafting.open('notices', { ...COMPLETE, tags: ['online-gambling'] });
    const path = `/v1/notices/${draft.id}`;
    const change = { tags: null, territory: 'Sabah', reference: nextReference() };
    expect(said(await desk.send('drafter', 'PATCH', path, change))).toBe('428 version-required');
    const changed = await desk.send('drafter', 'PATCH', path, change, { 'if-match': '"1"' });
    expect(changed.headers.etag).toBe('"2"');
    expect(changed.body).toMatchObject({ reference: change.reference, version: 2 });
    const { tags: _, ...rest } = changed.body.body;
    expect(changed.body.body).toEqual(rest);
    expect(rest).toEqual({ ...COMPLETE, territory: 'Sabah' });
    expect(said(await desk.send('drafter', 'PATCH', path, change, { 'if-match': '"1"' }))).toBe('412 version-mismatch');
    const stale = await desk.send('drafter', 'POST', `${path}/withdraw`, undefined, { 'if-match': '"1"' });
    expect(said(stale)).toBe('412 version-mismatch');
  });

  it('has a reference of its own', async () => {
    const { reference, id } = await drafting.stay();
    const again = await desk.send('drafter', 'POST', '/v1/stays', { ...STAY, reference });
    expect(said(again)).toBe('409 conflict');
    const other = await drafting.stay();
    const path = `/v1/stays/${other.id}`;
    expect(said(await desk.send('drafter', 'PATCH', path, { reference }, { 'if-match': '"1"' }))).toBe('409 conflict');
    await drafting.expectOk(drafting.step('drafter', 'stays', id, 'withdraw'));
    expect((await desk.send('drafter', 'POST', '/v1/stays', { ...STAY, reference })).status).toBe(201);
  });

  it('is refused where it is not as the API describes it', async () => {
    const bodies: object[] = [
      {},
      { reference: 'ungültig' },
      { reference: 'R/1', unknown: 1 },
      { reference: 'R/1', from: 'tomorrow' },
      { reference: 'R/1', reasons: { public: 'hid\u202eden' } },
      { reference: 'R/1', type: 'notice' },
      { reference: 'R/1', approvals: [] },
      { reference: "R/1'; drop table drafts;--\u0000" },
    ];
    const before = await desk.store.read(({ drafts }) => drafts.count());
    for (const body of bodies) {
      expect([body, said(await desk.send('drafter', 'POST', '/v1/stays', body))]).toEqual([
        body,
        '400 request-invalid',
      ]);
    }
    expect(await desk.store.read(({ drafts }) => drafts.count())).toBe(before);
  });

  it('belongs to its authority and its collection', async () => {
    const { id } = await drafting.stay();
    expect(said(await drafting.read('halts', id))).toBe('404 not-found');
    expect((await drafting.read('stays', id, 'auditor')).status).toBe(200);
    await desk.store.transaction(({ drafts }) => drafts.update(id, { authority: 'other' }));
    expect(said(await drafting.read('stays', id))).toBe('404 not-found');
    expect(said(await drafting.step('one', 'stays', id, 'return', { reason: 'x' }))).toBe('404 not-found');
    expect((await drafting.read('stays', id, 'auditor')).status).toBe(200);
    expect(said(await drafting.read('stays', 'nothing'))).toBe('404 not-found');
  });

  it('fixes its bytes at the last approval', async () => {
    const { id } = await drafting.notice('fixed.example', { dates: { effectiveFrom: '2d' }, term: { expires: '10d' } });
    expect((await desk.send('drafter', 'GET', `/v1/notices/${id}/payload`)).body.code).toBe('draft-state');
    await drafting.approve('notices', id);
    const payload = await drafting.payload('notices', id);
    const { statementId } = (await drafting.read('notices', id)).body;
    expect(hashHex(payload)).toBe(statementId);
    const inDays = (days: number) => formatInstant(desk.register.nowSeconds + days * DAY_SECONDS);
    expect(JSON.parse(payload.toString())).toMatchObject({
      dates: { approved: inDays(0), effectiveFrom: inDays(2) },
      term: { expires: inDays(12) },
      draftedBy: 'drafter',
      signedAt: inDays(0),
    });
  });

  it('leaves its trace: who, by which role, why, and hashes of before and after', async () => {
    const { id } = await drafting.stay();
    await drafting.expectOk(drafting.step('drafter', 'stays', id, 'propose'));
    await drafting.expectOk(drafting.step('one', 'stays', id, 'return', { reason: 'Not the right programme.' }));
    const trail = await desk.store.read(({ audit }) => audit.list({ subject: `drafts/${id}`, limit: 10 }));
    expect(trail.map(({ actor, role, action, reason }) => [actor, role, action, reason])).toEqual([
      ['drafter', 'case-officer', 'POST /v1/stays', null],
      ['drafter', 'case-officer', 'POST /v1/stays/:id/propose', null],
      ['one', 'approving-officer', 'POST /v1/stays/:id/return', 'Not the right programme.'],
    ]);
    for (const [at, { beforeHash, afterHash }] of trail.entries()) {
      expect(beforeHash).toBe(at === 0 ? null : trail[at - 1]!.afterHash);
      expect(afterHash).toMatch(/^[0-9a-f]{64}$/);
    }
  });

  it('is found in a list, by state, reference and time, page by page', async () => {
    const made = [];
    for (let at = 0; at < 5; at++) {
      desk.clock!.pass(10_000);
      made.push(await drafting.open('halts', { instrument: 'cma-263' }));
    }
    const list = async (query: string) => (await desk.send('one', 'GET', `/v1/halts?${query}`)).body;
    const ids = (page: { items: { id: string }[] }) => page.items.map(({ id }) => id);
    const first = await list('limit=2');
    const second = await list(`limit=2&cursor=${first.next}`);
    expect([...ids(first), ...ids(second)]).toEqual(
      made
        .map(({ id }) => id)
        .reverse()
        .slice(0, 4),
    );
    expect(ids(await list(`reference=${made[2].reference}`))).toEqual([made[2].id]);
    expect(ids(await list(`updatedSince=${made[3].createdAt}`))).toEqual([made[4].id, made[3].id]);
    await drafting.expectOk(drafting.step('drafter', 'halts', made[1].id, 'withdraw'));
    expect(ids(await list('state=withdrawn'))).toEqual([made[1].id]);
    expect(ids((await desk.send('auditor', 'GET', '/v1/halts?authority=other')).body)).toEqual([]);
    expect(said(await desk.send('one', 'GET', '/v1/halts?limit=1000'))).toBe('400 request-invalid');
  });

  it('answers a repeated request with the same answer', async () => {
    const body = { ...STAY, reference: nextReference() };
    const key = { 'idempotency-key': 'a-key-that-is-long-enough' };
    const answers = await Promise.all([1, 2].map(() => desk.send('drafter', 'POST', '/v1/stays', body, key)));
    expect(answers[0]!.body).toEqual(answers[1]!.body);
    expect(answers[1]!.headers.location).toBe(`/v1/stays/${answers[0]!.body.id}`);
    expect(await desk.store.read(({ drafts }) => drafts.count({ reference: body.reference }))).toBe(1);
  });
});
