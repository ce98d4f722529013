/**
 * What stands behind nginx at the origin: `node origin-server.ts PORT`. It sends a WebSocket's octets back, counts what is
 * uploaded and gives its CRC-32, and answers in chunks.
 */
import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { crc32 } from 'node:zlib';

/** What a handshake's key is hashed with (RFC 6455 §1.3). */
const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

const server = createServer((request, response) => {
  if (request.method === 'PUT') takeUpload(request, response);
  else sendChunks(response);
});
server.on('upgrade', (request, socket: Socket, head) => {
  const accept = createHash('sha1')
    .update(request.headers['sec-websocket-key']! + GUID)
    .digest('base64');
  socket.on('error', () => {});
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
  );
  const parser = new FrameEcho(socket);
  parser.take(head);
  socket.on('data', (chunk) => parser.take(chunk as Buffer));
});
server.listen(Number(process.argv[2]), '127.0.0.1', () => console.log('the origin listens'));

function takeUpload(request: IncomingMessage, response: ServerResponse): void {
  let bytes = 0;
  let sum = 0;
  request.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    sum = crc32(chunk, sum);
  });
  request.on('end', () => response.end(JSON.stringify({ bytes, crc32: sum })));
}

function sendChunks(response: ServerResponse): void {
  for (let i = 0; i < 3; i++) response.write(`chunk ${i}\n`);
  response.end();
}

/** Sends each frame of a client back unmasked, as a server must (RFC 6455 §5.1); a close frame ends the connection. */
class FrameEcho {
  readonly #socket: Socket;
  #bytes: Buffer = Buffer.alloc(0);

  constructor(socket: Socket) {
    this.#socket = socket;
  }

  take(chunk: Buffer): void {
    this.#bytes = Buffer.concat([this.#bytes, chunk]);
    while (this.#takeFrame());
  }

  #takeFrame(): boolean {
    const bytes = this.#bytes;
    const { maskAt, length } = readFrameHead(bytes);
    const end = maskAt + MASK_BYTES + length;
    if (bytes.length < end) return false;
    const mask = bytes.subarray(maskAt, maskAt + MASK_BYTES);
    const data = bytes.subarray(maskAt + MASK_BYTES, end).map((octet, i) => octet ^ mask[i % MASK_BYTES]!);
    const head = Buffer.from(bytes.subarray(0, maskAt));
    head[1] = head[1]! & 0x7f; // not masked
    this.#socket.write(Buffer.concat([head, data]));
    this.#bytes = bytes.subarray(end);
    if ((head[0]! & 0x0f) === CLOSE_FRAME) this.#socket.end();
    return true;
  }
}

const MASK_BYTES = 4;
const CLOSE_FRAME = 8;

/** Reads where the mask of a client's frame is and how long its data are: without end while the head is incomplete. */
function readFrameHead(bytes: Buffer): { maskAt: number; length: number } {
  const short = (bytes[1] ?? 127) & 0x7f;
  const maskAt = short === 127 ? 10 : short === 126 ? 4 : 2;
  if (bytes.length < maskAt) return { maskAt, length: Number.POSITIVE_INFINITY };
  const length = short === 127 ? Number(bytes.readBigUInt64BE(2)) : short === 126 ? bytes.readUInt16BE(2) : short;
  return { maskAt, length };
}
