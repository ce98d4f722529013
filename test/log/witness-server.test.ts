import { createHash } from 'node:crypto';
import { connect } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { composeCheckpoint, openCheckpoint } from '../../src/log/checkpoint.ts';
import { hashLeaf, rootOf } from '../../src/log/merkle.ts';
import { composeNote, createSigner } from '../../src/log/note.ts';
import { Sequencer } from '../../src/log/sequencer.ts';
import { composeRequest, REQUEST_MAX_BYTES } from '../../src/log/witness.ts';
import { createHttpWitness } from '../../src/log/witness-client.ts';
import { createWitnessServer } from '../../src/log/witness-server.ts';
import { MemoryStorage } from './memory-storage.ts';
import { makeLeaves } from './oracle.ts';
import { startHttp } from './stub-http.ts';
import { appendText, LOG_KEY, makeOptions, ORIGIN, openWitness, POLICY, readLog, WITNESS_NAME } from './test-log.ts';

const opened: { close(): unknown }[] = [];

afterEach(async () => {
  for (const one of opened.splice(0).reverse()) await one.close();
});

/** Starts a witness; returns its URL. */
async function startWitness(state = new MemoryStorage(), onError: (error: Error) => void = () => {}): Promise<string> {
  const witness = await openWitness(state);
  const app = createWitnessServer(witness, onError);
  opened.push(witness, app);
  return app.listen({ host: '127.0.0.1', port: 0 });
}

const noteOf = (size: number) => {
  const root = rootOf(makeLeaves(size).map((leaf) => hashLeaf(leaf)));
  const body = composeCheckpoint({ origin: ORIGIN, size, root });
  return composeNote(body, [createSigner(ORIGIN, LOG_KEY).sign(body)]);
};
const post = (url: string, body: Uint8Array | string, headers = {}) =>
  fetch(`${url}/add-checkpoint`, { method: 'POST', body: Buffer.from(body), headers });

/** Where monitors look. */
const MONITOR_PATH = `/${createHash('sha256').update(ORIGIN).digest('hex')}/checkpoint`;

describe('the server of a witness', () => {
  it.each(['', 'text/plain', 'application/json', 'application/x-www-form-urlencoded', 'multipart/form-data'])(
    'takes the body as it is, whatever type it says to be of (%j)',
    async (type) => {
      const url = await startWitness();
      const answer = await post(url, composeRequest(0, [], noteOf(5)), type === '' ? {} : { 'content-type': type });
      expect(answer.status).toBe(200);
      const text = await answer.text();
      expect(openCheckpoint(Buffer.concat([noteOf(5), Buffer.from(text)]), POLICY).witnessed).toBe(true);
    },
  );

  it('answers in the form of the protocol', async () => {
    const url = await startWitness();
    expect((await post(url, 'nonsense')).status).toBe(400);
    expect((await post(url, '')).status).toBe(400);
    await post(url, composeRequest(0, [], noteOf(5)));
    const conflict = await post(url, composeRequest(0, [], noteOf(7)));
    expect(conflict.status).toBe(409);
    expect(conflict.headers.get('content-type')).toBe('text/x.tlog.size');
    expect(await conflict.text()).toBe('5\n');
  });

  it('serves its last checkpoint to monitors', async () => {
    const url = await startWitness();
    expect((await fetch(`${url}${MONITOR_PATH}`)).status).toBe(404);
    await post(url, composeRequest(0, [], noteOf(5)));
    const answer = await fetch(`${url}${MONITOR_PATH}`);
    expect(answer.headers.get('content-type')).toBe('text/plain; charset=utf-8');
    expect(openCheckpoint(Buffer.from(await answer.arrayBuffer()), POLICY).witnessed).toBe(true);
    for (const path of ['/', '/add-checkpoint', `/${'0'.repeat(64)}/checkpoint`, '/%2e%2e/checkpoint']) {
      expect((await fetch(`${url}${path}`)).status).toBe(404);
    }
  });

  it('reads no endless body', async () => {
    const url = await startWitness();
    expect((await post(url, Buffer.alloc(REQUEST_MAX_BYTES + 1, 'a'))).status).toBe(413);
    const chunk = Buffer.alloc(1 << 16, 'a');
    let sent = 0;
    const endless = new ReadableStream({
      pull(controller) {
        sent += chunk.length;
        controller.enqueue(chunk);
      },
    });
    const answer = await fetch(`${url}/add-checkpoint`, {
      method: 'POST',
      body: endless,
      duplex: 'half',
    } as RequestInit)
      .then(({ status }) => status)
      .catch(() => 413); // the server may close before the client has read the answer
    expect(answer).toBe(413);
    expect(sent).toBeLessThan(1 << 24);
  });

  it('says no more of its own faults than that there was one', async () => {
    const state = new MemoryStorage();
    const errors: Error[] = [];
    const url = await startWitness(state, (error) => errors.push(error));
    state.replace = async () => {
      throw new Error('secret detail');
    };
    const answer = await post(url, composeRequest(0, [], noteOf(5)));
    expect(answer.status).toBe(500);
    expect(await answer.text()).toBe('the witness failed\n');
    expect(errors.map(({ message }) => message)).toEqual(['secret detail']);
  });

  it('ends although a client is still connected', async () => {
    const url = new URL(await startWitness());
    const socket = connect(Number(url.port), url.hostname);
    await new Promise((resolve) => socket.once('connect', resolve));
    socket.on('error', () => {});
    const closed = new Promise((resolve) => socket.once('close', resolve));
    for (const one of opened.splice(0).reverse()) await one.close();
    await closed;
  });
});

describe('a log with a witness behind HTTP', () => {
  const clientOf = (url: string, timeoutMillis = 5_000) =>
    createHttpWitness({ name: WITNESS_NAME, publicKey: POLICY.witnesses[0]!.publicKey, url, timeoutMillis });

  it('gets every checkpoint cosigned, also one that comes to a witness that knows more than it thinks', async () => {
    const url = await startWitness();
    const options = await makeOptions({ witnesses: [clientOf(`${url}/`)] });
    const first = await Sequencer.open(options);
    for (const text of ['a', 'b', 'c']) await appendText(first, text);
    await first.flush();
    expect((await readLog(options.storage))!.witnessed).toBe(true);
    await first.close();
    // A client that remembers nothing.
    const second = await Sequencer.open({ ...options, witnesses: [clientOf(url)] });
    await appendText(second, 'd');
    await second.flush();
    expect(await readLog(options.storage)).toMatchObject({ witnessed: true, checkpoint: { size: 4 } });
    await second.close();
  });

  it.each<[string, RegExp, Parameters<typeof startHttp>[0]]>([
    ['answers with something else', /no good cosignature|signature line/, (reply) => reply(200, 'hello\n')],
    ['answers with nothing', /no good cosignature/, (reply) => reply(200, '')],
    ['answers without end', /longer than/, (reply) => reply(200, 'x'.repeat(1 << 20))],
    ['answers with an error', /500/, (reply) => reply(500, 'oops')],
    ['says conflict, and not where it is', /not which/, (reply) => reply(409, 'somewhere')],
    ['says conflict twice', /409/, (reply) => reply(409, '0\n')],
    ['has seen more than there is', /seen 9 leaves/, (reply) => reply(409, '9\n')],
    ['says nothing', /aborted|timeout/i, () => {}],
  ])('goes on without one that %s', async (_, message, handle) => {
    const stub = await startHttp(handle);
    opened.push(stub);
    const faults: Error[] = [];
    const witnesses = [clientOf(stub.url, 300)];
    const options = await makeOptions({ witnesses, onFault: (error) => faults.push(error) });
    const sequencer = await Sequencer.open(options);
    await appendText(sequencer, 'a');
    await sequencer.flush();
    await sequencer.close();
    expect(await readLog(options.storage)).toMatchObject({ witnessed: false, checkpoint: { size: 1 } });
    expect(faults.length).toBeGreaterThan(0);
    for (const fault of faults) expect(fault).toMatchObject({ code: 'witness-failed' });
    expect(faults.at(-1)!.message).toMatch(message);
  });

  it('goes on without one that is not there', async () => {
    const stub = await startHttp(() => {});
    await stub.close();
    const options = await makeOptions({ witnesses: [clientOf(stub.url)] });
    const sequencer = await Sequencer.open(options);
    await appendText(sequencer, 'a');
    await sequencer.flush();
    expect((await readLog(options.storage))!.witnessed).toBe(false);
    await sequencer.close();
  });
});
