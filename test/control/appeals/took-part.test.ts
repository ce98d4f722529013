import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { findParticipants } from '../../../src/control/appeals/took-part.ts';
import type { DraftRecord } from '../../../src/control/store.ts';
import { publicKeyOf } from '../../../src/register/key.ts';
import { officerKey } from '../../support/log-register.ts';
import { AppealsRig } from './appeals-rig.ts';

let rig: AppealsRig;

beforeAll(async () => {
  rig = await AppealsRig.create();
});
afterAll(() => rig.close());

/** Publishes a notice that nobody took part in yet. */
const publish = (names = ['a.example', 'b.example']) => rig.notice(names, { reference: `TEST/${rig.view.size}` });

/** Keeps a draft of a statement as drafting leaves it. */
async function keepDraft(changes: Partial<DraftRecord>): Promise<void> {
  const draft: DraftRecord = {
    id: `draft-${Math.random()}`,
    type: 'notice',
    authority: 'mcmc',
    reference: 'TEST/1',
    state: 'published',
    body: {},
    draftedBy: 'clerk',
    approvals: [],
    overrides: [],
    preflight: null,
    annexDigest: null,
    sealed: false,
    payload: null,
    statementId: null,
    signatures: [],
    appealReference: null,
    leafIndex: null,
    integratedSeconds: null,
    refusal: null,
    createdSeconds: rig.now,
    updatedSeconds: rig.now,
    version: 1,
    ...changes,
  };
  await rig.store.transaction((tables) => tables.drafts.insert(draft));
}

const remove = async (notice: string) => {
  const entry = rig.view.entriesOf(notice)!.id(0);
  return rig.publish('variation', { notice, from: 'now', remove: [entry] }, ['two']);
};

/** How someone takes part in a notice; `reviewer` is the one who then wants to hear the appeal. */
const PARTS: Record<string, (notice: string) => Promise<unknown>> = {
  'nobody else': async () => {},
  'drafter of the draft': (statementId) => keepDraft({ statementId, draftedBy: 'reviewer' }),
  'approver of the draft': (statementId) =>
    keepDraft({ statementId, approvals: [{ officer: 'reviewer', role: 'approving-officer', atSeconds: rig.now }] }),
  'overrider of a check': (statementId) =>
    keepDraft({ statementId, overrides: [{ check: 'popular', officer: 'reviewer', reason: 'r' }] }),
  'signer of the draft': (statementId) =>
    keepDraft({ statementId, signatures: [{ keyid: 'k', sig: 's', officer: 'reviewer', publicKey: 'p' }] }),
  'drafter of a published variation': async (notice) => {
    await keepDraft({ type: 'variation', statementId: await remove(notice), draftedBy: 'reviewer' });
  },
  'approver of a published variation': async (notice) => {
    const approvals = [{ officer: 'reviewer', role: 'approving-officer', atSeconds: rig.now }];
    await keepDraft({ type: 'variation', statementId: await remove(notice), approvals });
  },
  'drafter of a variation on its way': (notice) =>
    keepDraft({ type: 'variation', state: 'proposed', body: { notice }, draftedBy: 'reviewer' }),
};

describe('whoever hears an appeal', () => {
  it.each([
    ['reviewer', 200],
    ['drafter-reviews', 403],
    ['approver-reviews', 403],
    ['signer-reviews', 403],
    ['stranger', 403],
  ])('%s: by the statement itself %i', async (person, status) => {
    const notice = await publish();
    const code = person === 'stranger' ? 'forbidden' : 'appeal-conflict';
    const check = async (reference: string, action: string, body: object) => {
      const answer = await rig.act(reference, action, body, person);
      expect([action, answer.status, answer.body.code]).toEqual([action, status, status === 200 ? undefined : code]);
    };
    const bodies = { stay: { reasons: 'r' }, assess: { cure: 'c' }, decide: { outcome: 'rejected', reasons: 'r' } };
    const { reference } = await rig.bring(notice, 'acknowledged');
    await check(reference, 'stay', bodies.stay);
    await check(reference, 'assess', bodies.assess);
    if (status !== 200) await rig.act(reference, 'assess', bodies.assess, 'second');
    await check(reference, 'decide', bodies.decide);
    const { reference: other } = await rig.bring(notice, 'acknowledged');
    await rig.act(other, 'assess', bodies.assess, 'second');
    await check(other, 'cure', { reasons: 'r' });
  });

  it.each(Object.keys(PARTS))('%s took part', async (part) => {
    const notice = await publish();
    await PARTS[part]!(notice);
    const { reference } = await rig.bring(notice, 'acknowledged');
    const answer = await rig.act(reference, 'assess', {});
    expect(answer.body.code).toBe(part === 'nobody else' ? undefined : 'appeal-conflict');
    expect((await rig.appeal(reference)).state).toBe(part === 'nobody else' ? 'assessed' : 'acknowledged');
  });

  it('is not who approved the notice, though others signed it', async () => {
    rig.register.changeAuthorities((file) => {
      const { officers } = file.authorities[0]!;
      officers.push({ ...officers[0]!, id: 'three', publicKey: publicKeyOf(officerKey('three')) });
    });
    const { id } = await rig.register.publish({ type: 'notice', names: ['a.example'], reference: 'APPROVED/1' }, [
      'two',
      'three',
    ]);
    await rig.view.catchUp();
    expect(rig.view.find(id)!.verified.signers).toEqual(['two', 'three']);
    const { reference } = await rig.bring(id, 'acknowledged');
    expect((await rig.act(reference, 'assess', {}, 'approver-reviews')).body.code).toBe('appeal-conflict');
    expect((await rig.act(reference, 'assess', {})).status).toBe(200);
  });

  it('took no part by a withdrawn variation, or by one of another notice', async () => {
    const notice = await publish(['a.example']);
    const other = await publish(['b.example']);
    await keepDraft({ type: 'variation', state: 'withdrawn', body: { notice }, draftedBy: 'reviewer' });
    await keepDraft({ type: 'variation', state: 'proposed', body: { notice: other }, draftedBy: 'reviewer' });
    const { reference } = await rig.bring(notice, 'acknowledged');
    expect((await rig.act(reference, 'assess', {})).status).toBe(200);
  });

  it('is not the holder of a key that signed, under another name', async () => {
    const notice = await publish(['a.example']);
    const { authorities } = rig.register;
    rig.register.changeAuthorities((file) => {
      const { officers } = file.authorities[0]!;
      const twin = { ...officers[0]!, id: 'reviewer', role: 'appeals-reviewer' as const };
      officers.push({ ...twin, publicKey: publicKeyOf(officerKey('two')) });
    });
    await rig.view.catchUp();
    const { reference } = await rig.bring(notice, 'acknowledged');
    const answer = await rig.act(reference, 'assess', {});
    expect(answer.body.code).toBe('appeal-conflict');
    expect((await rig.act(reference, 'assess', {}, 'second')).status).toBe(200);
    rig.register.changeAuthorities((file) => Object.assign(file, { authorities: authorities.authorities }));
    await rig.view.catchUp();
  });

  it('is told apart by officers and by keys', async () => {
    const notice = rig.view.findNotice(await publish(['a.example']))!;
    const { officers, keys } = await rig.read((tables) => findParticipants(tables, rig.view, notice));
    expect([...officers].sort()).toEqual(['drafter', 'one', 'two']);
    expect([...keys].sort()).toEqual(['one', 'two'].map((id) => publicKeyOf(officerKey(id))).sort());
  });
});

describe('staff', () => {
  it.each([
    ['clerk', 200],
    ['drafter', 200],
    ['approver-reviews', 200],
    ['stranger', 403],
    ['auditor', 403],
    ['admin', 403],
    ['operator', 403],
    ['public', 401],
  ])('%s acknowledging an appeal: %i', async (person, status) => {
    const { reference } = await rig.bring(await publish(['a.example']), 'filed');
    const as = person === 'public' ? undefined : person;
    expect((await rig.send(`POST /v1/appeals/${reference}/acknowledge`, {}, { as })).status).toBe(status);
  });

  it.each(['clerk', 'auditor', 'admin', 'operator'])('%s hears no appeal', async (person) => {
    const { reference } = await rig.bring(await publish(['a.example']), 'acknowledged');
    for (const [action, body] of Object.entries({
      assess: {},
      stay: { reasons: 'r' },
      decide: { outcome: 'rejected', reasons: 'r' },
      cure: { reasons: 'r' },
    })) {
      expect((await rig.act(reference, action, body, person)).status).toBe(403);
    }
  });
});
