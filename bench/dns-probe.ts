import { createSocket, type Socket } from 'node:dgram';

export const NOERROR = 0;
export const NXDOMAIN = 3;

/** The probe's own time between two askings, and so the precision of a load time. */
const POLL_MILLIS = 10;

/** Asks again and again, on its own socket, until every name had the expected RCODE once. */
export interface Probe {
  /** Settles when every name was answered as expected. */
  answered: Promise<void>;
  /** Stops asking; `answered` then never settles. */
  stop(): void;
}

/**
 * Starts asking 127.0.0.1:`port` for the A records of each name of `expected` (name → RCODE). No answer, a refused
 * port and other RCODEs are what a server does while it loads, so they only mean asking again.
 */
export function startProbe(port: number, expected: Record<string, number>): Probe {
  const socket = createSocket('udp4');
  const queries = Object.entries(expected).map(([name, rcode], id) => ({ wire: composeQuery(id, name), rcode }));
  const missing = new Set(queries.keys());
  let timer: NodeJS.Timeout | undefined;
  const stop = () => {
    clearInterval(timer);
    close(socket);
  };
  const answered = new Promise<void>((resolve) => {
    socket.on('message', (message) => {
      if (message.length < 12) return;
      const id = message.readUInt16BE(0);
      if ((message[3] & 0x0f) === queries[id]?.rcode) missing.delete(id);
      if (missing.size > 0) return;
      stop();
      resolve();
    });
  });
  socket.on('error', () => {});
  const ask = () => {
    for (const id of missing) socket.send(queries[id].wire, port, '127.0.0.1', () => {});
  };
  timer = setInterval(ask, POLL_MILLIS);
  ask();
  return { answered, stop };
}

/** Closes a socket that may be closed already. */
function close(socket: Socket): void {
  try {
    socket.close();
  } catch {
    // Closed before: nothing is left to do.
  }
}

/** Returns a query for the A records of `name` with RD set (RFC 1035 §4.1), written by hand so that no code under test is trusted. */
function composeQuery(id: number, name: string): Buffer {
  const labels = name.split('.').map((label) => Buffer.from(`\0${label}`, 'latin1'));
  for (const label of labels) label[0] = label.length - 1;
  const header = Buffer.from([id >> 8, id & 255, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
  return Buffer.concat([header, ...labels, Buffer.from([0, 0, 1, 0, 1])]);
}
