import { createSocket, type RemoteInfo } from 'node:dgram';
import { createServer, type Socket } from 'node:net';
import { frame, type Server } from './dns-client.ts';
import { composeName, TYPE } from './dns-message.ts';
import { findFreePort } from './ports.ts';

/** A resolver to forward to that answers every query at once: A 192.0.2.1 for each name, or what `compose` makes. */
export interface StubUpstream extends Server {
  /** Queries received. */
  readonly received: Buffer[];
  close(): Promise<void>;
}

/** Makes the reply to a query; `undefined` leaves it unanswered. */
export type ComposeReply = (query: Buffer) => Buffer | undefined;

/** Starts a stub on a free port of `host`, for UDP and TCP. */
export async function startStubUpstream(
  compose: ComposeReply = composeReply,
  { host = '127.0.0.1', keep = false }: { host?: string; keep?: boolean } = {},
): Promise<StubUpstream> {
  const port = await findFreePort();
  const received: Buffer[] = [];
  const answer = (query: Buffer) => {
    if (keep) received.push(query);
    return compose(query);
  };
  const socket = createSocket({ type: host.includes(':') ? 'udp6' : 'udp4', recvBufferSize: 4 << 20 });
  socket.on('message', (query: Buffer, from: RemoteInfo) => {
    const reply = answer(query);
    if (reply !== undefined) socket.send(reply, from.port, from.address, () => {});
  });
  await new Promise<void>((resolve) => socket.bind(port, host, resolve));
  const connections = new Set<Socket>();
  const server = createServer((connection) => {
    connections.add(connection);
    let rest = Buffer.alloc(0);
    connection.on('error', () => {});
    connection.on('data', (chunk: Buffer) => {
      rest = Buffer.concat([rest, chunk]);
      while (rest.length >= 2 && rest.length >= 2 + rest.readUInt16BE(0)) {
        const end = 2 + rest.readUInt16BE(0);
        const reply = answer(rest.subarray(2, end));
        rest = rest.subarray(end);
        if (reply !== undefined) connection.write(frame(reply));
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(port, host, resolve));
  return {
    host,
    port,
    received,
    async close() {
      for (const connection of connections) connection.destroy();
      await Promise.all([
        new Promise<void>((resolve) => socket.close(() => resolve())),
        new Promise<void>((resolve) => server.close(() => resolve())),
      ]);
    },
  };
}

/** Answers a query with one record (by default A 192.0.2.1) for its own name; OPT is answered with OPT. */
export function composeReply(query: Buffer, record: { type: number; data: Buffer } = ADDRESS): Buffer {
  const questionEnd = findQuestionEnd(query);
  const header = Buffer.from(query.subarray(0, 12));
  header[2] = 0x80 | (query[2]! & 0x01);
  header[3] = 0x80;
  const hasOpt = query.readUInt16BE(10) > 0;
  header.writeUInt16BE(1, 6);
  header.writeUInt16BE(0, 8);
  header.writeUInt16BE(hasOpt ? 1 : 0, 10);
  const fixed = Buffer.from([0xc0, 12, 0, record.type, 0, 1, 0, 0, 0, 60, 0, 0]);
  fixed.writeUInt16BE(record.data.length, 10);
  const question = query.subarray(12, questionEnd);
  return Buffer.concat([header, question, fixed, record.data, hasOpt ? OPT : Buffer.alloc(0)]);
}

/** A record whose data is one name. */
export function aliasTo(name: string): { type: number; data: Buffer } {
  return { type: TYPE.CNAME, data: composeName(name) };
}

const ADDRESS = { type: TYPE.A as number, data: Buffer.of(192, 0, 2, 1) };
const OPT = Buffer.of(0, 0, TYPE.OPT, 1232 >>> 8, 1232 & 255, 0, 0, 0, 0, 0, 0);

function findQuestionEnd(query: Buffer): number {
  let at = 12;
  while (query[at] !== 0) at += query[at]! + 1;
  return at + 5;
}
