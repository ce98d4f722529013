import { hash } from 'node:crypto';
import { DatabaseSync } from 'node:sqlite';
import canonicalize from 'canonicalize';
import { expect, it } from 'vitest';
import { FIRST_PREVIOUS_HASH, verifyAuditTrail } from '../../src/store/audit-trail.ts';
import { query } from '../support/postgres.ts';
import { describeEngines } from './engines.ts';
import { makeEntry } from './records.ts';

describeEngines('the trail of changes', ({ engine, open, makeTarget }) => {
  /** Runs a statement as whoever has the database's password would. */
  async function tamper(target: string, ...statements: string[]): Promise<void> {
    if (engine === 'postgresql') {
      for (const statement of statements) await query(target, statement);
      return;
    }
    const database = new DatabaseSync(target.replace('sqlite:', ''));
    try {
      for (const statement of statements) database.exec(statement);
    } finally {
      database.close();
    }
  }

  /** Takes the guards away, tampers, and puts them back: it leaves no other trace. */
  async function tamperBehindGuards(target: string, statement: string): Promise<void> {
    if (engine === 'postgresql') {
      await tamper(target, 'alter table audit disable trigger all', statement, 'alter table audit enable trigger all');
      return;
    }
    const database = new DatabaseSync(target.replace('sqlite:', ''));
    const guards = database.prepare(`select name, sql from sqlite_master where type = 'trigger'`).all();
    for (const { name } of guards) database.exec(`drop trigger ${name}`);
    database.exec(statement);
    for (const { sql } of guards) database.exec(sql as string);
    database.close();
  }

  it('chains each entry to the one before it', async () => {
    const store = await open();
    const first = await store.transaction(({ audit }) => audit.append(makeEntry('drafts/1')));
    const second = await store.transaction(({ audit }) => audit.append(makeEntry('drafts/2', { reason: 'ä "x"' })));
    expect(first).toMatchObject({ sequence: 1, previousHash: FIRST_PREVIOUS_HASH });
    expect(second).toMatchObject({
      ...makeEntry('drafts/2', { reason: 'ä "x"' }),
      sequence: 2,
      previousHash: first.hash,
    });
    const { hash: own, ...content } = second;
    expect(own).toBe(hash('sha256', canonicalize(content)!, 'hex'));
    expect(await store.read(({ audit }) => audit.list({ limit: 9 }))).toEqual([first, second]);
    expect(await verifyAuditTrail(store)).toEqual({ isSound: true, head: { sequence: 2, hash: own } });
  });

  it('is sound when nothing has happened yet', async () => {
    expect(await verifyAuditTrail(await open())).toEqual({
      isSound: true,
      head: { sequence: 0, hash: FIRST_PREVIOUS_HASH },
    });
  });

  it('never forks, however many append at once', async () => {
    const target = await makeTarget();
    const stores = [await open(target), await open(target)];
    const appending = stores.flatMap((store, who) =>
      Array.from({ length: 25 }, (_, index) =>
        store.transaction(async ({ audit }) => {
          await Promise.all([
            audit.append(makeEntry(`a/${who}/${index}`)),
            audit.append(makeEntry(`b/${who}/${index}`)),
          ]);
        }),
      ),
    );
    await Promise.all(appending);
    expect(await verifyAuditTrail(stores[0]!)).toMatchObject({ isSound: true, head: { sequence: 100 } });
    const entries = await stores[1]!.read(({ audit }) => audit.list({ limit: 1000 }));
    expect(new Set(entries.map(({ subject }) => subject)).size).toBe(100);
  });

  it('lists by subject, by actor and page by page', async () => {
    const store = await open();
    await store.transaction(async ({ audit }) => {
      for (let i = 0; i < 12; i++) {
        await audit.append(makeEntry(`drafts/${i % 3}`, { actor: i % 2 === 0 ? 'even' : 'odd' }));
      }
    });
    const list = (query: { afterSequence?: number; subject?: string; actor?: string; limit: number }) =>
      store.read(async ({ audit }) => (await audit.list(query)).map(({ sequence }) => sequence));
    expect(await list({ limit: 5 })).toEqual([1, 2, 3, 4, 5]);
    expect(await list({ afterSequence: 10, limit: 5 })).toEqual([11, 12]);
    expect(await list({ subject: 'drafts/1', limit: 3 })).toEqual([2, 5, 8]);
    expect(await list({ subject: 'drafts/1', actor: 'odd', afterSequence: 2, limit: 3 })).toEqual([8]);
    expect(await list({ actor: 'nobody', limit: 3 })).toEqual([]);
  });

  it.each([
    [`update audit set reason = 'other' where sequence = 2`],
    [`update audit set sequence = 9 where sequence = 3`],
    [`delete from audit where sequence = 3`],
    [`delete from audit`],
    [
      `insert into audit select 9, at_seconds, actor, role, action, subject, reason, before_hash, after_hash, hash, 'x' from audit where sequence = 3`,
    ],
    ...(engine === 'postgresql'
      ? [['truncate audit'], ['truncate audit cascade']]
      : [
          [
            `insert or replace into audit select 2, at_seconds, 'other', role, action, subject, reason, before_hash, after_hash, previous_hash, 'x' from audit where sequence = 2`,
          ],
          [`update or replace audit set sequence = 1 where sequence = 2`],
        ]),
  ])('refuses %s, whoever asks', async (statement) => {
    const target = await makeTarget();
    const store = await open(target);
    for (let i = 0; i < 3; i++) await store.transaction(({ audit }) => audit.append(makeEntry(`drafts/${i}`)));
    const before = await store.read(({ audit }) => audit.list({ limit: 9 }));
    await expect(tamper(target, statement!)).rejects.toThrow('the trail of changes');
    expect(await store.read(({ audit }) => audit.list({ limit: 9 }))).toEqual(before);
  });

  it.each([
    [`update audit set reason = 'other' where sequence = 3`, { sequence: 3, fault: /not that of its content/ }],
    [
      `update audit set at_seconds = at_seconds + 1 where sequence = 1`,
      { sequence: 1, fault: /not that of its content/ },
    ],
    [
      `update audit set hash = '${'ab'.repeat(32)}' where sequence = 3`,
      { sequence: 3, fault: /not that of its content/ },
    ],
    [
      `update audit set previous_hash = '${'ab'.repeat(32)}' where sequence = 2`,
      { sequence: 2, fault: /entry before/ },
    ],
    [`delete from audit where sequence = 3`, { sequence: 3, fault: /missing/ }],
    [`delete from audit where sequence = 1`, { sequence: 1, fault: /missing/ }],
    [`delete from audit where sequence >= 4`, { sequence: 4, fault: /ends at 3/ }],
    [`delete from audit`, { sequence: 1, fault: /ends at 0/ }],
  ])('that was tampered with by %s is found out', async (statement, { sequence, fault }) => {
    const target = await makeTarget();
    const store = await open(target);
    for (let i = 0; i < 5; i++) await store.transaction(({ audit }) => audit.append(makeEntry(`drafts/${i}`)));
    const sound = await verifyAuditTrail(store);
    const known = sound.isSound ? sound.head : undefined;
    await tamperBehindGuards(target, statement);
    expect(await verifyAuditTrail(store, known)).toEqual({
      isSound: false,
      sequence,
      fault: expect.stringMatching(fault),
    });
  });

  it('that was written anew from the middle on is found out by a head that was noted', async () => {
    const target = await makeTarget();
    const store = await open(target);
    for (let i = 0; i < 5; i++) await store.transaction(({ audit }) => audit.append(makeEntry(`drafts/${i}`)));
    const sound = await verifyAuditTrail(store);
    const known = sound.isSound ? sound.head : undefined;
    await tamperBehindGuards(target, 'delete from audit where sequence >= 4');
    for (let i = 0; i < 5; i++) await store.transaction(({ audit }) => audit.append(makeEntry(`other/${i}`)));
    expect(await verifyAuditTrail(store)).toMatchObject({ isSound: true });
    expect(await verifyAuditTrail(store, known)).toMatchObject({ isSound: false, sequence: 5, fault: /noted/ });
  });
});
