import { createSocket, type RemoteInfo } from 'node:dgram';
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import type { SocketAddress } from '../../src/resolver/socket-address.ts';

/** What an upstream does with a message: the messages it sends back, of which the first may be wrong on purpose. */
export type Respond = (message: Buffer) => readonly Uint8Array[];

/** An upstream in this process on a free port of 127.0.0.1, whose behaviour tests can change at any time. */
export interface FakeUpstream {
  readonly address: SocketAddress;
  onDatagram: Respond;
  /** Gets everything received so far on a connection, the length in front included. */
  onStream: Respond;
  close(): void;
}

/** Starts an upstream that keeps silent until it is told what to do. */
export async function startFakeUpstream(): Promise<FakeUpstream> {
  const socket = createSocket('udp4');
  const connections = new Set<Socket>();
  const server = createServer((connection) => {
    connections.add(connection);
    let received = Buffer.alloc(0);
    connection.on('error', () => {});
    connection.on('data', (chunk: Buffer) => {
      received = Buffer.concat([received, chunk]);
      for (const message of upstream.onStream(received)) {
        connection.write(Buffer.concat([Buffer.of(message.length >>> 8, message.length & 255), message]));
      }
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  socket.bind(port, '127.0.0.1');
  await once(socket, 'listening');
  const upstream: FakeUpstream = {
    address: { host: '127.0.0.1', port, family: 4 },
    onDatagram: () => [],
    onStream: () => [],
    close() {
      socket.close();
      server.close();
      for (const connection of connections) connection.destroy();
    },
  };
  socket.on('message', (message: Buffer, from: RemoteInfo) => {
    for (const reply of upstream.onDatagram(message)) socket.send(reply, from.port, from.address);
  });
  return upstream;
}
