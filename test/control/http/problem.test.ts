import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type ErrorCode, WartaError } from '../../../src/base/errors.ts';
import { describeProblem, ProblemError, statusOf } from '../../../src/control/http/problem.ts';
import { type ControlRig, createControlRig } from './control-rig.ts';

let rig: ControlRig;
let fail: () => unknown;

beforeAll(async () => {
  rig = await createControlRig({
    areas: [
      (add) =>
        add({
          ...{ route: 'GET /v1/statistics', summary: 'A test', tag: 'Test' },
          async handle() {
            throw fail();
          },
        }),
    ],
  });
});
beforeEach(() => void rig.faults.splice(0));
afterAll(() => rig.close());

const ask = () => rig.send('GET /v1/statistics');

describe('a refusal', () => {
  it('is a problem with a code, a status and what to do next', async () => {
    fail = () => new WartaError('draft-state', 'return it to draft first');
    const answer = await ask();
    expect(answer.headers).toMatchObject({
      'content-type': expect.stringMatching(/^application\/problem\+json/),
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
      'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
    });
    expect(answer.json()).toEqual({
      ...{
        type: 'about:blank',
        title: 'Conflict',
        status: 409,
        code: 'draft-state',
        detail: 'return it to draft first',
      },
    });
    expect(rig.faults).toEqual([]);
  });

  it('may name several faults', async () => {
    const errors = [
      { line: 3, message: 'no name' },
      { path: 'entries/4', message: 'twice' },
    ];
    fail = () => new ProblemError('entries-invalid', 'two lines are at fault', errors);
    expect((await ask()).json()).toMatchObject({ status: 422, errors });
  });

  it.each<[ErrorCode, number]>([
    ['request-invalid', 400],
    ['unauthenticated', 401],
    ['credential-invalid', 401],
    ['forbidden', 403],
    ['self-approval', 403],
    ['not-found', 404],
    ['conflict', 409],
    ['version-mismatch', 412],
    ['request-oversized', 413],
    ['media-unsupported', 415],
    ['idempotency-mismatch', 422],
    ['preflight-refused', 422],
    ['statement-out-of-scope', 422],
    ['annex-malformed', 422],
    ['version-required', 428],
    ['request-limited', 429],
    ['identity-unavailable', 503],
    ['store-failed', 503],
    ['config-invalid', 500],
    ['table-damaged', 500],
    ['log-invalid', 500],
  ])('for %s has the status %i', (code, status) => {
    expect(statusOf(code)).toBe(status);
  });

  it('of who is not known says how to be', async () => {
    fail = () => new WartaError('unauthenticated', 'no');
    expect((await ask()).headers['www-authenticate']).toBe('Bearer');
  });

  it('for now says when to come back', async () => {
    fail = () => new WartaError('store-failed', 'cannot open /var/lib/warta/control.db: password=hunter2');
    const answer = await ask();
    expect([answer.statusCode, answer.headers['retry-after']]).toEqual([503, '5']);
    expect(answer.json()).toMatchObject({
      code: 'store-failed',
      detail: 'the server cannot do this now: try again later',
    });
    expect(rig.faults).toHaveLength(1);
  });
});

describe('a fault', () => {
  const SECRET = 'postgresql://warta:hunter2@db.internal/warta';
  it.each<[string, () => unknown]>([
    ['an error', () => new Error(SECRET)],
    ['an error of ours that is no refusal', () => new WartaError('config-invalid', SECRET)],
    ['an error with a cause', () => new Error('x', { cause: new Error(SECRET) })],
    ['an error with a status', () => Object.assign(new Error(SECRET), { statusCode: 500 })],
    ['an error with a status that is no refusal', () => Object.assign(new Error(SECRET), { statusCode: 200 })],
    ['an error with fields', () => Object.assign(new Error('x'), { sql: SECRET, code: SECRET })],
    [
      'an error of a system call',
      () => Object.assign(new Error(SECRET), { code: 'ECONNREFUSED', address: '10.0.0.1' }),
    ],
    ['a text', () => SECRET],
    ['a number', () => 404],
    ['an object', () => ({ message: SECRET })],
  ])('tells nothing but that it is one: %s', async (_case, create) => {
    fail = create;
    const answer = await ask();
    expect(answer.json()).toEqual({
      ...{ type: 'about:blank', title: 'Internal Server Error', status: 500, code: 'fault' },
      detail: 'a fault of the server: try again, and tell its operator if it goes on',
    });
    expect(JSON.stringify(answer.headers)).not.toContain('hunter2');
    expect(rig.faults).toHaveLength(1);
  });

  it.each([undefined, null])('may be %s', (thrown) => {
    expect(describeProblem(thrown)).toMatchObject({ status: 500, code: 'fault' });
  });
});

describe('what is not there', () => {
  it.each(['GET /', 'GET /v1', 'GET /v1/nothing', 'POST /v1/nothing', 'DELETE /v1/audit-records', 'GET /favicon.ico'])(
    'is a problem: %s',
    async (route) => {
      for (const as of ['public', 'admin'] as const) {
        const answer = await rig.send(route, { as });
        expect(answer.headers['content-type']).toContain('application/problem+json');
        expect(answer.json()).toMatchObject({ status: 404, code: 'not-found' });
      }
    },
  );
});
