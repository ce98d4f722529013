import type { AddressInfo, Socket } from 'node:net';
import { Packet, TCPServer, UDPServer } from 'dns2';

/** Answers a query seen on one transport: messages to send, in order; none is silence. */
export type Script = (query: Packet, transport: 'udp' | 'tcp') => readonly (Packet | Buffer)[];

/** A DNS server of a few lines, made with dns2, on one port of 127.0.0.1 for UDP and TCP. */
export interface ScriptedServer {
  /** As `--server` takes it. */
  readonly address: string;
  /** What was asked, in order. */
  readonly seen: { query: Packet; transport: 'udp' | 'tcp' }[];
  script: Script;
  close(): Promise<void>;
}

/** Starts a server that follows `script`, which tests replace as they like. */
export async function startServer(): Promise<ScriptedServer> {
  const tcp = new TCPServer();
  const udp = new UDPServer();
  const connections: Socket[] = [];
  const server: ScriptedServer = {
    address: '',
    seen: [],
    script: () => [],
    async close() {
      for (const connection of connections) connection.destroy();
      await Promise.all([new Promise((done) => udp.close(() => done(0))), new Promise((done) => tcp.close(done))]);
    },
  };
  const handle = (transport: 'udp' | 'tcp') => (query: Packet, send: (message: Packet | Buffer) => unknown) => {
    server.seen.push({ query, transport });
    for (const message of server.script(query, transport)) send(message);
  };
  tcp.on('request', handle('tcp'));
  udp.on('request', handle('udp'));
  tcp.on('connection', (connection: Socket) => connections.push(connection));
  // A client that has its answer just hangs up.
  tcp.on('requestError', () => {});
  await new Promise<void>((done) => tcp.listen(0, '127.0.0.1', done));
  const { port } = tcp.address() as AddressInfo;
  await udp.listen(port, '127.0.0.1');
  return Object.assign(server, { address: `127.0.0.1:${port}` });
}

/** What an answer holds besides the question. */
export interface AnswerParts {
  rcode?: number;
  tc?: 0 | 1;
  answers?: object[];
  authorities?: object[];
  /** Extended errors as code and text; an empty list is an OPT record without any. */
  errors?: readonly (readonly [number, string])[];
}

/** Composes an answer to a query; without `errors` it has no OPT record. */
export function composeAnswer(query: Packet, parts: AnswerParts): Packet {
  const answer = Packet.createResponseFromRequest(query);
  answer.header.ra = 1;
  answer.header.rcode = parts.rcode ?? Packet.RCODE.NOERROR;
  answer.header.tc = parts.tc ?? 0;
  const withName = (record: object) =>
    new Packet.Resource({ name: query.questions[0].name, class: 1, ttl: 60, ...record });
  answer.answers = (parts.answers ?? []).map(withName);
  answer.authorities = (parts.authorities ?? []).map(withName);
  if (parts.errors) {
    const options = parts.errors.map(([code, text]) => Packet.Resource.EDNS.EDE(code, text));
    answer.additionals = [Packet.Resource.EDNS(options, { udpPayloadSize: 1232 })];
  }
  return answer;
}
