import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { type ClientHttp2Session, connect as connectHttp2, constants } from 'node:http2';
import { connect as connectTcp, type Socket } from 'node:net';
import { join } from 'node:path';
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from 'node:tls';
import { StreamClient } from './dns-client.ts';
import { makeFolder } from './folders.ts';
import { findFreePort } from './ports.ts';
import { findProgram } from './programs.ts';
import { type NodeOptions, NodeSite, type TestNode } from './test-node.ts';

/** Name that the certificates are for. */
export const NAME = 'dns.isp.example';
export const DNS_MESSAGE = 'application/dns-message';

/** PEM files of a key and a certificate of its own. */
export interface CertificateFixture {
  certificate: string;
  key: string;
}

/** Makes a certificate with the openssl program, valid for `days`; `label` tells one from another (its organisation). */
export function makeCertificate(label = 'first', days = 30, folder = makeFolder()): CertificateFixture {
  const files = { certificate: join(folder, `${label}.cert.pem`), key: join(folder, `${label}.key.pem`) };
  const names = `subjectAltName=DNS:${NAME},IP:127.0.0.1`;
  execFileSync(
    findProgram('openssl') ?? 'openssl',
    [
      ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'],
      ...['-keyout', files.key, '-out', files.certificate, '-days', String(days)],
      ...['-subj', `/O=${label}/CN=${NAME}`, '-addext', names],
    ],
    { stdio: 'ignore' },
  );
  return files;
}

/** A node that serves DoT and DoH, and how to reach it. */
export interface EncryptedNode {
  node: TestNode;
  site: NodeSite;
  dotPort: number;
  dohPort: number;
}

export interface EncryptedNodeOptions extends NodeOptions {
  certificate: CertificateFixture;
  /** Further keys of `resolver.tls`. */
  tls?: object;
  doh?: object;
}

/** Starts a node with DoT and DoH on free ports; `bad.example` and what is below is blocked. */
export async function startEncryptedNode(options: EncryptedNodeOptions): Promise<EncryptedNode> {
  const [dotPort, dohPort] = [await findFreePort(), await findFreePort()];
  const tls = {
    ...options.certificate,
    dot: { listen: [`127.0.0.1:${dotPort}`] },
    doh: { listen: [`127.0.0.1:${dohPort}`], ...options.doh },
    handshakesPerSecond: 0,
    handshakesPerSecondPerClient: 0,
    ...options.tls,
  };
  const site = await NodeSite.prepare({ ...options, resolver: { ...options.resolver, tls } });
  site.register.notice('n', [{ subtree: 'bad.example' }, 'exact.example']);
  return { node: await site.startHere(), site, dotPort, dohPort };
}

/** Opens TLS to a port of 127.0.0.1 and waits for the handshake. */
export async function openTls(port: number, options: ConnectionOptions = {}): Promise<TLSSocket> {
  const socket = connectTls({ host: '127.0.0.1', port, rejectUnauthorized: false, ...options });
  socket.on('error', () => {});
  await new Promise<void>((resolve, reject) => {
    socket.once('secureConnect', resolve);
    socket.once('close', () => reject(new Error('closed before the handshake was done')));
    socket.once('error', reject);
  });
  return socket;
}

/** Opens a DoT connection. */
export async function openDot(port: number, options: ConnectionOptions = {}): Promise<StreamClient> {
  return StreamClient.over(await openTls(port, { ALPNProtocols: ['dot'], ...options }));
}

/** Opens a plain connection and waits for it. */
export async function openTcp(port: number, localAddress?: string): Promise<Socket> {
  const socket = connectTcp({ host: '127.0.0.1', port, localAddress, noDelay: true });
  socket.on('error', () => {});
  await once(socket, 'connect');
  return socket;
}

/** What DoH answered. */
export interface DohResponse {
  status: number;
  headers: Record<string, string | string[] | number | undefined>;
  body: Buffer;
}

/** Opens an HTTP/2 connection for DoH. */
export function openDoh(port: number): ClientHttp2Session {
  const session = connectHttp2(`https://127.0.0.1:${port}`, { rejectUnauthorized: false });
  session.on('error', () => {});
  return session;
}

/** Makes one request; a body makes it a POST. */
export function requestDoh(
  session: ClientHttp2Session,
  headers: Record<string, string | number>,
  body?: Uint8Array,
): Promise<DohResponse> {
  return new Promise((resolve, reject) => {
    const stream = session.request({ ':method': body ? 'POST' : 'GET', ':path': '/dns-query', ...headers });
    let received: Record<string, string | string[] | number | undefined> = {};
    const parts: Buffer[] = [];
    stream.on('response', (head) => {
      received = head as typeof received;
    });
    stream.on('data', (part: Buffer) => parts.push(part));
    stream.on('error', (error) => (received[':status'] === undefined ? reject(error) : undefined));
    stream.on('close', () => {
      if (received[':status'] === undefined) reject(new Error(`no response: ${stream.rstCode}`));
      else resolve({ status: Number(received[':status']), headers: received, body: Buffer.concat(parts) });
    });
    stream.end(body);
  });
}

/** The path of a GET with a query. */
export function getPath(query: Uint8Array, path = '/dns-query'): string {
  return `${path}?dns=${Buffer.from(query).toString('base64url')}`;
}

export const { NGHTTP2_CANCEL } = constants;
