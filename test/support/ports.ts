import { createSocket } from 'node:dgram';
import { createServer } from 'node:net';

/** Below the kernel's ephemeral range, so that no client socket takes a port between its choice and its use. */
const LOWEST_PORT = 20_000;
const PORT_COUNT = 12_000;
/** Test files run in processes of their own; each starts somewhere else. */
let next = (process.pid * 97) % PORT_COUNT;

/** Returns a port that is free on the loopback addresses for UDP and TCP, another one each time. */
export async function findFreePort(): Promise<number> {
  for (let tried = 0; tried < PORT_COUNT; tried++) {
    const port = LOWEST_PORT + (next++ % PORT_COUNT);
    if ((await canBindUdp(port)) && (await canBindTcp(port))) return port;
  }
  throw new Error(`no port from ${LOWEST_PORT} up is free`);
}

function canBindUdp(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createSocket('udp4');
    socket.on('error', () => resolve(false));
    socket.bind(port, '0.0.0.0', () => socket.close(() => resolve(true)));
  });
}

function canBindTcp(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.on('error', () => resolve(false));
    server.listen(port, '0.0.0.0', () => server.close(() => resolve(true)));
  });
}
