import { hash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { join } from 'node:path';

/** Ways in which a mirror can misbehave. */
export type MirrorFault =
  /** A page of HTML with status 200. */
  | 'html'
  /** Random bytes with status 200. */
  | 'garbage'
  /** The file, then zeros without end. */
  | 'endless'
  /** The file, an octet every 50 ms. */
  | 'slow'
  /** Takes the request and says nothing. */
  | 'silence'
  /** 404. */
  | 'absent'
  /** 500. */
  | 'broken'
  /** The first half of the file, its length as announced, then the connection is cut. */
  | 'truncated'
  /** The file and as much again, announced. */
  | 'oversized'
  /** 304 whatever was asked. */
  | 'unchanged'
  /** The connection is closed at once. */
  | 'reset';

const DRIP_MILLIS = 50;
const ENDLESS_CHUNK = Buffer.alloc(65_536);

/**
 * A static file server as any mirror is one, which a test can make misbehave and which counts what it does. ETags are of the
 * content. Nothing is cached: it serves the folder as it is now, but for what `overrides` says.
 */
export class MirrorServer {
  /** Says which fault a path has; none by default. */
  fault: (path: string) => MirrorFault | undefined = () => undefined;
  /** What to serve in place of a file, by path without a leading slash: older files, forged ones. */
  readonly overrides = new Map<string, Uint8Array>();
  /** Whether files have an ETag. */
  sendsEtags = true;
  /** Requests so far, by path without a leading slash. */
  readonly requests = new Map<string, number>();
  /** Octets of bodies sent so far. */
  bodyBytes = 0;
  readonly #folder: string;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #closedBytes = 0;

  private constructor(folder: string) {
    this.#folder = folder;
    this.#server = createServer((request, response) => this.#answer(request, response));
    this.#server.on('connection', (socket) => {
      this.#sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => {
        this.#closedBytes += socket.bytesWritten;
        this.#sockets.delete(socket);
      });
    });
  }

  /** Serves a folder on a loopback port. */
  static async start(folder: string, port = 0): Promise<MirrorServer> {
    const mirror = new MirrorServer(folder);
    await new Promise<void>((resolve, reject) => {
      mirror.#server.on('error', reject);
      mirror.#server.listen(port, '127.0.0.1', resolve);
    });
    return mirror;
  }

  /** `http://127.0.0.1:<port>/`. */
  get url(): string {
    return `http://127.0.0.1:${this.port}/`;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get requestCount(): number {
    return [...this.requests.values()].reduce((sum, count) => sum + count, 0);
  }

  /** Octets sent so far, headers included. */
  get sentBytes(): number {
    return [...this.#sockets].reduce((sum, socket) => sum + socket.bytesWritten, this.#closedBytes);
  }

  /** Starts all counters again. */
  resetCounters(): void {
    this.#closedBytes -= this.sentBytes;
    this.bodyBytes = 0;
    this.requests.clear();
  }

  /** Keeps serving these files as they are now, whatever becomes of them: a mirror that stands still. */
  freeze(paths: readonly string[] = ['checkpoint', 'trust/timestamp.json']): void {
    for (const path of paths) {
      const bytes = this.#read(path);
      if (bytes !== undefined) this.overrides.set(path, bytes);
    }
  }

  /** Serves everything as it is, without faults. */
  thaw(): void {
    this.overrides.clear();
    this.fault = () => undefined;
  }

  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  #read(path: string): Uint8Array | undefined {
    const override = this.overrides.get(path);
    if (override !== undefined) return override;
    if (path.split('/').some((segment) => segment.startsWith('.') || segment === '')) return undefined;
    try {
      return readFileSync(join(this.#folder, path));
    } catch {
      return undefined;
    }
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const path = decodeURIComponent(new URL(request.url!, 'http://mirror').pathname).slice(1);
    this.requests.set(path, (this.requests.get(path) ?? 0) + 1);
    const fault = this.fault(path);
    const bytes = this.#read(path);
    if (fault !== undefined && this.#misbehave(fault, bytes ?? Buffer.alloc(0), request, response)) return;
    if (bytes === undefined || fault === 'absent') {
      this.#send(response, 404, Buffer.from('not found\n'));
      return;
    }
    const etag = `"${hash('sha256', bytes)}"`;
    if (this.sendsEtags) response.setHeader('etag', etag);
    if (this.sendsEtags && request.headers['if-none-match'] === etag) {
      response.writeHead(304).end();
      return;
    }
    this.#serve(request, response, bytes);
  }

  /** Sends a file, or the one range of it that was asked for. */
  #serve(request: IncomingMessage, response: ServerResponse, bytes: Uint8Array): void {
    const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '');
    if (range === null) {
      this.#send(response, 200, bytes);
      return;
    }
    const from = Number(range[1]);
    const to = Math.min(bytes.length - 1, range[2] === '' ? Number.POSITIVE_INFINITY : Number(range[2]));
    if (from > to) {
      response.writeHead(416, { 'content-range': `bytes */${bytes.length}` }).end();
      return;
    }
    response.setHeader('content-range', `bytes ${from}-${to}/${bytes.length}`);
    this.#send(response, 206, bytes.subarray(from, to + 1));
  }

  #send(response: ServerResponse, status: number, bytes: Uint8Array): void {
    this.bodyBytes += bytes.length;
    response.writeHead(status, { 'content-length': bytes.length }).end(bytes);
  }

  /** Does what the fault says; false when it is one that the ordinary way takes care of. */
  #misbehave(fault: MirrorFault, bytes: Uint8Array, request: IncomingMessage, response: ServerResponse): boolean {
    switch (fault) {
      case 'html':
        this.#send(response, 200, Buffer.from('<!doctype html><title>Sign in</title><p>Accept the terms.</p>'));
        return true;
      case 'garbage':
        this.#send(response, 200, Buffer.from(hash('sha512', bytes, 'buffer')));
        return true;
      case 'oversized':
        this.#send(response, 200, Buffer.concat([bytes, bytes, Buffer.alloc(1)]));
        return true;
      case 'broken':
        this.#send(response, 500, Buffer.from('broken\n'));
        return true;
      case 'unchanged':
        response.writeHead(304).end();
        return true;
      case 'truncated':
        response.writeHead(200, { 'content-length': bytes.length });
        response.write(bytes.subarray(0, bytes.length >> 1), () => request.socket.destroy());
        return true;
      case 'endless':
        response.writeHead(200);
        response.write(bytes);
        this.#pour(response);
        return true;
      case 'slow':
        response.writeHead(200, { 'content-length': bytes.length });
        this.#drip(response, bytes, 0);
        return true;
      case 'silence':
        return true;
      case 'reset':
        request.socket.destroy();
        return true;
      case 'absent':
        return false;
    }
  }

  /** Writes zeros for as long as someone reads them. */
  #pour(response: ServerResponse): void {
    while (!response.destroyed) {
      this.bodyBytes += ENDLESS_CHUNK.length;
      if (!response.write(ENDLESS_CHUNK)) break;
    }
    if (!response.destroyed) response.once('drain', () => this.#pour(response));
  }

  #drip(response: ServerResponse, bytes: Uint8Array, at: number): void {
    if (response.destroyed) return;
    if (at === bytes.length) {
      response.end();
      return;
    }
    this.bodyBytes++;
    response.write(bytes.subarray(at, at + 1));
    setTimeout(() => this.#drip(response, bytes, at + 1), DRIP_MILLIS).unref();
  }
}
