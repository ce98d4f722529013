import type { Socket } from 'node:net';

/**
 * Joins two connections octet by octet until both are done; `onEnd` is called once. Each direction holds one buffer and waits
 * for the slower side; an end is passed on alone, so that the other direction can finish. Nothing in either direction for
 * `idleSeconds` closes both.
 */
export function spliceSockets(client: Socket, origin: Socket, idleSeconds: number, onEnd: () => void): void {
  let open = 2;
  const close = () => {
    client.destroy();
    origin.destroy();
    if (--open === 0) onEnd();
  };
  for (const socket of [client, origin]) {
    // What arrives at one side is sent to the other, so both clocks start again whenever anything moves.
    socket.setTimeout(idleSeconds * 1000, () => socket.destroy());
    socket.setNoDelay(true).on('error', () => {});
    if (socket.destroyed) queueMicrotask(close);
    else socket.once('close', close);
  }
  client.pipe(origin);
  origin.pipe(client);
}
