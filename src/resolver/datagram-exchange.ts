import { createSocket } from 'node:dgram';
import type { SocketAddress } from './socket-address.ts';

/** One datagram out, one reply back. */
export interface DatagramExchange {
  server: SocketAddress;
  /** Sent as one datagram. */
  parts: readonly Uint8Array[];
  timeoutMillis: number;
  /** Whether a datagram is the reply; others are ignored. */
  isReply(datagram: Buffer): boolean;
}

/**
 * Sends one datagram from a socket of its own, so from a fresh random port, and waits for the reply. The kernel drops what
 * comes from elsewhere. Never rejects: `timeout` when nothing came, `network` when the way there is closed.
 */
export function exchangeDatagram(exchange: DatagramExchange): Promise<Buffer | 'timeout' | 'network'> {
  const { server, parts, timeoutMillis, isReply } = exchange;
  return new Promise((resolve) => {
    const socket = createSocket(server.family === 6 ? 'udp6' : 'udp4');
    const finish = (result: Buffer | 'timeout' | 'network') => {
      clearTimeout(timer);
      socket.removeAllListeners().on('error', () => {});
      socket.close();
      resolve(result);
    };
    const timer = setTimeout(finish, timeoutMillis, 'timeout');
    // An exchange under way must not keep a program alive that was told to stop.
    timer.unref();
    socket.unref();
    socket.once('error', () => finish('network'));
    socket.on('message', (datagram) => {
      if (isReply(datagram)) finish(datagram);
    });
    // Node calls back with an error where there is no route; without a look at it, `send` would throw.
    socket.connect(server.port, server.host, ((error?: Error) => {
      if (error) return finish('network');
      socket.send([...parts], (failure) => {
        if (failure) finish('network');
      });
    }) as () => void);
  });
}
