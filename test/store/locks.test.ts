import { connect, createServer, type Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import { expect, it, vi } from 'vitest';
import { takePostgresLock } from '../../src/store/postgres-lock.ts';
import { findFreePort } from '../support/ports.ts';
import { query } from '../support/postgres.ts';
import { startProgram } from '../support/running-program.ts';
import { waitUntil } from '../support/wait.ts';
import { describeEngines } from './engines.ts';

const PROGRAM = fileURLToPath(new URL('./counting-program.ts', import.meta.url));

describeEngines('a lock', ({ engine, open, makeTarget }) => {
  it('has one holder, until it is released', async () => {
    const target = await makeTarget();
    const [one, other] = [await open(target), await open(target)];
    const release = await one.lock('sequencer');
    expect(release).toBeDefined();
    expect(await other.lock('sequencer')).toBeUndefined();
    expect(await one.lock('sequencer')).toBeUndefined();
    const releaseThird = await other.lock('reminders');
    expect(releaseThird).toBeDefined();
    await release!();
    await release!();
    const again = await other.lock('sequencer');
    expect(again).toBeDefined();
    await again!();
    await releaseThird!();
  });

  it('is free once its holder was killed', async () => {
    const target = await makeTarget();
    const store = await open(target);
    const holder = startProgram(process.execPath, [PROGRAM, target, 'sequencer']);
    await holder.waitFor(/\d+\n/);
    expect(await store.lock('sequencer')).toBeUndefined();
    holder.kill('SIGKILL');
    await holder.ended;
    const release = await waitUntil('the lock is free', () => store.lock('sequencer'));
    await release();
  });

  it('stays with its holder when the same process asks for it again', async () => {
    const target = await makeTarget();
    const store = await open(target);
    const release = await store.lock('sequencer');
    expect(await store.lock('sequencer')).toBeUndefined();
    const rival = startProgram(process.execPath, [PROGRAM, target, 'sequencer']);
    const [told] = await rival.waitFor(/^\d+\n|the lock is taken/);
    expect(told).toBe('the lock is taken');
    rival.kill('SIGKILL');
    await release!();
  });

  it('of one database is none of another', async () => {
    const [one, other] = [await open(), await open()];
    const releases = [await one.lock('sequencer'), await other.lock('sequencer')];
    for (const release of releases) await release!();
  });

  it('is not called anything that is no part of a file name', async () => {
    const store = await open();
    for (const name of ['', 'A', '../x', 'a/b', 'a b', '-a', 'x'.repeat(41)]) {
      await expect(store.lock(name)).rejects.toThrow('is no name of a lock');
    }
  });

  it('does not hinder transactions', async () => {
    const store = await open();
    const release = await store.lock('sequencer');
    await store.transaction(({ users }) => users.count());
    await release!();
  });

  if (engine === 'postgresql') {
    it('that was lost says so once, and is free for another', async () => {
      const target = await makeTarget();
      const store = await open(target);
      const onLost = vi.fn();
      const release = await store.lock('sequencer', onLost);
      await query(
        target,
        `select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'warta sequencer'
         and datname = current_database()`,
      );
      await waitUntil('the loss is noticed', () => onLost.mock.calls.length > 0);
      const again = await store.lock('sequencer', onLost);
      expect(again).toBeDefined();
      await release!();
      expect(await store.lock('sequencer')).toBeUndefined();
      await again!();
      expect(onLost).toHaveBeenCalledTimes(1);
    });

    it('that was released is not lost', async () => {
      const store = await open();
      const onLost = vi.fn();
      const release = await store.lock('sequencer', onLost);
      await release!();
      await (await store.lock('sequencer'))!();
      expect(onLost).not.toHaveBeenCalled();
    });

    it('whose connection falls silent is lost', async () => {
      const url = new URL(await makeTarget());
      const serverPort = Number(url.port);
      const sockets: Socket[] = [];
      const proxy = createServer((client) => {
        const server = connect(serverPort, url.hostname);
        sockets.push(client, server);
        client.pipe(server).pipe(client);
        for (const socket of [client, server]) socket.on('error', () => {});
      });
      const port = await findFreePort();
      await new Promise<void>((resolve) => proxy.listen(port, '127.0.0.1', resolve));
      url.port = String(port);
      try {
        const onLost = vi.fn();
        const pulse = { beatMillis: 20, answerMillis: 2000 };
        const release = await takePostgresLock({ connectionString: url.href }, 'sequencer', onLost, pulse);
        expect(release).toBeDefined();
        await waitUntil('a few beats', () => new Promise<true>((resolve) => setTimeout(() => resolve(true), 100)));
        expect(onLost).not.toHaveBeenCalled();
        for (const socket of sockets) socket.unpipe().pause();
        await waitUntil('the silence is noticed', () => onLost.mock.calls.length > 0);
        expect(onLost).toHaveBeenCalledTimes(1);
      } finally {
        for (const socket of sockets) socket.destroy();
        proxy.close();
      }
    });
  }
});
