import { createSocket } from 'node:dgram';
import { connect } from 'node:net';
import { Packet } from 'dns2';
import { describeError, WartaError } from '../base/errors.ts';
import { EDNS_UDP_BYTES } from '../dns/constants.ts';
import { formatSocketAddress, type SocketAddress } from '../resolver/socket-address.ts';

/** A question and how to put it. */
export interface DnsQuestion {
  /** Canonical name; `.` is the root. */
  readonly name: string;
  readonly type: number;
  /** Whether the query carries an OPT record (RFC 6891), without which no extended error comes back. */
  readonly edns: boolean;
  /** Sets DO: asks for DNSSEC records. */
  readonly dnssec: boolean;
}

/** An answer and how it came. */
export interface DnsAnswer {
  readonly packet: Packet;
  readonly transport: 'udp' | 'tcp';
  readonly millis: number;
  /** Whether it was asked again over TCP because the UDP answer was cut. */
  readonly retried: boolean;
}

/**
 * Asks one server one question with dns2's codec, so that what our own wire code sends is read by another. Sockets are
 * ours: dns2's clients know neither the OPT record nor every record type. A cut UDP answer is asked for again over TCP.
 *
 * @throws {WartaError} `query-failed` when no answer arrives in time.
 */
export async function askServer(
  server: SocketAddress,
  question: DnsQuestion,
  options: { tcp: boolean; timeoutMillis: number },
): Promise<DnsAnswer> {
  const began = performance.now();
  const query = composeQuery(question);
  const exchange = (ask: typeof askUdp) => ask(server, query, options.timeoutMillis);
  const first = await exchange(options.tcp ? askTcp : askUdp);
  const retried = !options.tcp && first.header.tc === 1;
  const packet = retried ? await exchange(askTcp) : first;
  const transport = options.tcp || retried ? 'tcp' : 'udp';
  return { packet, transport, retried, millis: performance.now() - began };
}

/** Composes a query with an unpredictable id. */
function composeQuery({ name, type, edns, dnssec }: DnsQuestion): Packet {
  const query = new Packet();
  query.header = new Packet.Header({ id: Packet.uuid(), rd: 1 });
  query.questions.push(new Packet.Question(name, type, Packet.CLASS.IN));
  const size = { udpPayloadSize: EDNS_UDP_BYTES, doFlag: dnssec };
  if (edns) query.additionals.push(Packet.Resource.EDNS([], size));
  return query;
}

/** Asks over UDP; sends a second time at half the time-out, as a datagram may be lost. */
function askUdp(server: SocketAddress, query: Packet, timeoutMillis: number): Promise<Packet> {
  return new Promise((resolve, reject) => {
    const socket = createSocket(server.family === 6 ? 'udp6' : 'udp4');
    const wire = query.toBuffer();
    let dropped = '';
    const send = () => socket.send(wire);
    const resend = setTimeout(send, timeoutMillis / 2);
    const stop = setTimeout(() => settle(() => reject(timedOut(server, timeoutMillis, dropped))), timeoutMillis);
    const settle = (act: () => void) => {
      clearTimeout(resend);
      clearTimeout(stop);
      socket.removeAllListeners('error').on('error', () => {});
      socket.close();
      act();
    };
    socket.on('error', (error) => settle(() => reject(failed(server, error))));
    socket.on('message', (message) => {
      const result = matchAnswer(message, query);
      if (typeof result === 'string') dropped = result;
      else settle(() => resolve(result));
    });
    // A connected socket takes datagrams from the server alone, and learns of a closed port.
    socket.connect(server.port, server.host, send);
  });
}

/** Asks over TCP (RFC 7766). */
function askTcp(server: SocketAddress, query: Packet, timeoutMillis: number): Promise<Packet> {
  return new Promise((resolve, reject) => {
    const wire = query.toBuffer();
    const size = Buffer.alloc(2);
    size.writeUInt16BE(wire.length);
    const socket = connect(server.port, server.host, () => socket.write(Buffer.concat([size, wire])));
    const stop = setTimeout(() => socket.destroy(timedOut(server, timeoutMillis, '')), timeoutMillis);
    // `readStream` takes its listener away when it is done, and an error without one ends the process.
    socket.on('error', () => {});
    Packet.readStream(socket)
      .then((message) => {
        const result = matchAnswer(message, query);
        if (typeof result === 'string') throw failed(server, new Error(result));
        resolve(result);
      })
      .catch((error) => reject(error instanceof WartaError ? error : failed(server, error)))
      .finally(() => {
        clearTimeout(stop);
        socket.destroy();
      });
  });
}

/** Returns the answer when it belongs to the query, else why it is not taken. */
function matchAnswer(message: Buffer, query: Packet): Packet | string {
  let packet: Packet;
  try {
    packet = Packet.parse(message);
  } catch (error) {
    return `what came is no DNS message: ${describeError(error)}`;
  }
  if (packet.header.qr !== 1 || packet.header.id !== query.header.id) return 'what came does not answer this query';
  const [asked] = query.questions;
  const [echoed] = packet.questions;
  // FORMERR and the like may come without the question.
  if (echoed === undefined) return packet.header.rcode === 0 ? 'the answer has no question' : packet;
  const same = echoed.type === asked.type && echoed.name.toLowerCase() === asked.name.replace(/\.$/, '').toLowerCase();
  return same ? packet : `the answer is about ${echoed.name}`;
}

function timedOut(server: SocketAddress, timeoutMillis: number, dropped: string): WartaError {
  const text = `no answer from ${formatSocketAddress(server)} in ${timeoutMillis / 1000} s`;
  return new WartaError('query-failed', `${text}${dropped && ` (${dropped})`}: check --server, or give more --timeout`);
}

function failed(server: SocketAddress, cause: Error): WartaError {
  const { code } = cause as NodeJS.ErrnoException;
  const reason = code === 'ECONNREFUSED' ? 'nothing listens there' : cause.message;
  return new WartaError('query-failed', `no answer from ${formatSocketAddress(server)}: ${reason}; check --server`, {
    cause,
  });
}
