import type { Socket } from 'node:net';

/** How long a client may go on sending, or leave its own side open, once the gateway is done with it. */
const LINGER_MILLIS = 5_000;

const ignored = new WeakSet<Socket>();
const closing = new WeakSet<Socket>();

/**
 * Says that the last answer of a connection is decided on: whatever else comes in must not be acted on (RFC 9112 §9.6). It is
 * taken from whoever reads it, since Node's HTTP server would make a request and an answer of every forty octets, and left
 * unread until the answer is out.
 */
export function ignoreFurther(socket: Socket): void {
  if (ignored.has(socket)) return;
  ignored.add(socket);
  // Not at once: this may be called by the parser itself. It starts a socket again that it had stopped only while it reads it.
  socket.resume();
  process.nextTick(() => {
    socket.removeAllListeners('data').on('data', () => {});
    if (!closing.has(socket)) socket.pause();
  });
}

/** Whether the last answer is decided on. */
export function isIgnored(socket: Socket): boolean {
  return ignored.has(socket);
}

/**
 * Closes a connection in two steps (RFC 9112 §9.6): ends the gateway's side, and reads and throws away what the client still
 * sends until it ends, too, or five seconds have passed since all was sent. Closed at once, with octets unread, the connection would be reset,
 * and the reset overtakes the answer: a client in the middle of an upload would never see why it was refused.
 */
export function closeLingering(socket: Socket): void {
  if (socket.destroyed || closing.has(socket)) return;
  closing.add(socket);
  ignoreFurther(socket);
  socket.end((error?: Error) => {
    if (error) return; // it is gone
    const timer = setTimeout(() => socket.destroy(), LINGER_MILLIS);
    socket.once('close', () => clearTimeout(timer));
  });
  socket.resume();
}

/** Makes Node's HTTP server close this connection in two steps: `destroySoon` is how it does so behind a last answer. */
export function makeCloseLinger(socket: Socket): void {
  socket.destroySoon = lingerInstead;
}

function lingerInstead(this: Socket): void {
  closeLingering(this);
}
