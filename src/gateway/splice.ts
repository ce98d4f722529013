import type { Socket } from 'node:net';

/**
 * Joins two connections octet by octet until both are done; `onEnd` is called once. Each direction holds one buffer and waits
 * for the slower side; an end is passed on alone, so that the other direction can finish. When one side is gone, what it sent
 * before still gets to the other. Nothing in either direction for `idleSeconds` closes both.
 */
export function spliceSockets(client: Socket, origin: Socket, idleSeconds: number, onEnd: () => void): void {
  let open = 2;
  for (const [socket, other] of [
    [client, origin],
    [origin, client],
  ] as const) {
    const onClose = () => {
      other.destroySoon();
      if (--open === 0) onEnd();
    };
    // What arrives at one side is sent to the other, so both clocks start again whenever anything moves.
    socket.setTimeout(idleSeconds * 1000, () => socket.destroy());
    socket.setNoDelay(true).on('error', () => {});
    if (socket.destroyed) queueMicrotask(onClose);
    else socket.once('close', onClose);
  }
  client.pipe(origin);
  origin.pipe(client);
}
