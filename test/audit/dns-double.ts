import { createSocket } from 'node:dgram';
import { readFileSync } from 'node:fs';
import { createServer as createHttpsServer } from 'node:https';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { createServer as createTlsServer } from 'node:tls';
import { Packet } from 'dns2';
import type { Protocol, ResolverTarget } from '../../src/audit/dns-asker.ts';
import { composeAnswer } from '../cli/dns-server.ts';
import { frame } from '../support/dns-client.ts';
import { makeFolder } from '../support/folders.ts';
import { runProgram } from '../support/programs.ts';

/** What a double says about a name. */
export type Say =
  | 'open'
  | 'nothing'
  | 'denied'
  | 'servfail'
  | { readonly block: string; readonly form: 'nxdomain' | 'nodata' | 'records'; readonly code?: number };

/** A resolver of a test, on every transport. */
export interface DnsDouble {
  say: (name: string, type: number) => Say;
  /** Names asked, by transport. */
  readonly asked: { readonly protocol: Protocol; readonly name: string; readonly type: number }[];
  /** Whether UDP answers are cut. */
  cut: boolean;
  /** Its certificate, PEM. */
  readonly ca: string;
  target(protocol: Protocol): ResolverTarget;
  close(): Promise<void>;
}

const ADDRESS = { type: Packet.TYPE.A, address: '192.0.2.1' };

/** Makes a key and a certificate for dns.test and 127.0.0.1. */
export async function makeCertificate(): Promise<{ key: string; cert: string }> {
  const folder = makeFolder();
  const [key, cert] = [join(folder, 'key.pem'), join(folder, 'cert.pem')];
  const subject = ['-subj', '/CN=dns.test', '-addext', 'subjectAltName=DNS:dns.test,IP:127.0.0.1'];
  const made = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', key, '-out', cert];
  const { code, stderr } = await runProgram('openssl', ['req', '-x509', '-days', '2', ...made, ...subject]);
  if (code !== 0) throw new Error(stderr);
  return { key: readFileSync(key, 'utf8'), cert: readFileSync(cert, 'utf8') };
}

/** Starts a double on 127.0.0.1 that says what `say` says. */
export async function startDouble(say: DnsDouble['say']): Promise<DnsDouble> {
  const { key, cert } = await makeCertificate();
  const asked: { protocol: Protocol; name: string; type: number }[] = [];
  const answer = (protocol: Protocol, message: Buffer): Buffer | undefined => {
    const query = Packet.parse(message);
    const { name, type } = query.questions[0]!;
    asked.push({ protocol, name, type });
    const cut = protocol === 'udp' && double.cut;
    return compose(query, double.say(name, type), cut)?.toBuffer();
  };
  const streams = (protocol: 'tcp' | 'dot') => (socket: Socket) => serveStream(socket, (one) => answer(protocol, one));
  const tcp = createServer(streams('tcp'));
  const dot = createTlsServer({ key, cert }, streams('dot'));
  const doh = createHttpsServer({ key, cert }, (request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk) => chunks.push(chunk));
    request.on('end', () => {
      const inPath = new URL(request.url!, 'https://dns.test').searchParams.get('dns');
      const message = inPath === null ? Buffer.concat(chunks) : Buffer.from(inPath, 'base64url');
      const reply = answer('doh', message);
      if (reply === undefined) return;
      response.writeHead(200, { 'content-type': 'application/dns-message' }).end(reply);
    });
  });
  const ports = {} as Record<Protocol, number>;
  for (const [protocol, server] of [
    ['tcp', tcp],
    ['dot', dot],
    ['doh', doh],
  ] as const) {
    ports[protocol] = await listen(server);
  }
  const udp = createSocket('udp4');
  udp.on('message', (message, from) => {
    const reply = answer('udp', message);
    if (reply !== undefined) udp.send(reply, from.port, from.address);
  });
  // The same port as TCP, where cut answers are asked for again.
  ports.udp = ports.tcp;
  await new Promise<void>((resolve) => udp.bind(ports.udp, '127.0.0.1', resolve));
  const double: DnsDouble = {
    say,
    asked,
    cut: false,
    ca: cert,
    target: (protocol) => ({ protocol, host: '127.0.0.1', port: ports[protocol], ca: cert }),
    async close() {
      udp.close();
      doh.closeAllConnections();
      for (const server of [tcp, dot, doh]) server.close();
    },
  };
  return double;
}

function listen(server: Server): Promise<number> {
  return new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => resolve((server.address() as AddressInfo).port));
  });
}

/** Answers whole messages of a stream. */
function serveStream(socket: Socket, answer: (message: Buffer) => Buffer | undefined): void {
  let rest = Buffer.alloc(0);
  socket.on('error', () => {});
  socket.on('data', (chunk: Buffer) => {
    rest = Buffer.concat([rest, chunk]);
    while (rest.length >= 2 && rest.length >= 2 + rest.readUInt16BE(0)) {
      const end = 2 + rest.readUInt16BE(0);
      const reply = answer(rest.subarray(2, end));
      rest = rest.subarray(end);
      if (reply !== undefined) socket.write(frame(reply));
    }
  });
}

function compose(query: Packet, say: Say, cut: boolean): Packet | undefined {
  if (cut) return composeAnswer(query, { tc: 1, errors: [] });
  switch (say) {
    case 'nothing':
      return undefined;
    case 'open':
      return composeAnswer(query, { answers: [ADDRESS], errors: [] });
    case 'denied':
      return composeAnswer(query, { rcode: Packet.RCODE.NXDOMAIN });
    case 'servfail':
      return composeAnswer(query, { rcode: Packet.RCODE.SERVFAIL, errors: [] });
  }
  const rcode = say.form === 'nxdomain' ? Packet.RCODE.NXDOMAIN : Packet.RCODE.NOERROR;
  const answers = say.form === 'records' ? [ADDRESS] : [];
  return composeAnswer(query, { rcode, answers, errors: [[say.code ?? 16, say.block]] });
}
