/**
 * The upstream of the forwarding benches: `node bench/echo-upstream.ts PORT` answers every query on 127.0.0.1 with
 * NOERROR and no record, and prints `ready` once it listens.
 *
 * It must cost much less than the forwarders it stands behind, or the bench would measure it instead of them. So it
 * moves datagrams by batches through the foreign function interface and touches two header octets of each; Node's own
 * `dgram` would cost as much as a forwarder. 64-bit Linux only.
 */
import koffi from 'koffi';

const BATCH = 64;
/** Largest query taken. A longer one arrives cut and goes back cut: no client here sends one. */
const SLOT_BYTES = 1536;
/** Sizes on 64-bit Linux of struct mmsghdr, struct iovec and struct sockaddr_in. */
const MMSGHDR_BYTES = 64;
const IOVEC_BYTES = 16;
const ADDRESS_BYTES = 16;
const DNS_HEADER_BYTES = 12;
const SOCKET_BUFFER_BYTES = 4 << 20;

const AF_INET = 2;
const SOCK_DGRAM = 2;
const SOL_SOCKET = 1;
const SO_SNDBUF = 7;
const SO_RCVBUF = 8;
const SO_RCVTIMEO = 20;
const MSG_WAITFORONE = 0x10000;

const libc = koffi.load('libc.so.6');
const socket = libc.func('int socket(int, int, int)');
const setsockopt = libc.func('int setsockopt(int, int, int, void *, uint)');
const bind = libc.func('int bind(int, void *, uint)');
const recvmmsg = libc.func('int recvmmsg(int, void *, uint, int, void *)');
const sendmmsg = libc.func('int sendmmsg(int, void *, uint, int)');

serve(openSocket(Number(process.argv[2])));

/** Returns a UDP socket bound to `port` of 127.0.0.1 whose receive calls give up after a second. */
function openSocket(port: number): number {
  if (!Number.isInteger(port) || port < 1 || port > 65535) throw new Error('usage: node bench/echo-upstream.ts PORT');
  const handle: number = socket(AF_INET, SOCK_DGRAM, 0);
  const size = Buffer.alloc(4);
  size.writeInt32LE(SOCKET_BUFFER_BYTES);
  setsockopt(handle, SOL_SOCKET, SO_RCVBUF, size, 4);
  setsockopt(handle, SOL_SOCKET, SO_SNDBUF, size, 4);
  const second = Buffer.alloc(16); // struct timeval
  second.writeBigInt64LE(1n);
  setsockopt(handle, SOL_SOCKET, SO_RCVTIMEO, second, 16);
  const local = Buffer.alloc(ADDRESS_BYTES);
  local.writeUInt16LE(AF_INET, 0);
  local.writeUInt16BE(port, 2);
  local.writeUInt32BE(0x7f000001, 4);
  if (bind(handle, local, ADDRESS_BYTES) !== 0) throw new Error(`cannot bind 127.0.0.1:${port}: choose a free port`);
  return handle;
}

/** Answers batches until the process that started this one is gone. */
function serve(handle: number): void {
  // The addresses of these buffers are stored inside one another: they must stay referenced as long as the loop runs.
  const payloads = Buffer.alloc(BATCH * SLOT_BYTES);
  const addresses = Buffer.alloc(BATCH * ADDRESS_BYTES);
  const vectors = Buffer.alloc(BATCH * IOVEC_BYTES);
  const headers = Buffer.alloc(BATCH * MMSGHDR_BYTES);
  for (let i = 0; i < BATCH; i++) {
    vectors.writeBigUInt64LE(koffi.address(payloads) + BigInt(i * SLOT_BYTES), i * IOVEC_BYTES);
    headers.writeBigUInt64LE(koffi.address(addresses) + BigInt(i * ADDRESS_BYTES), i * MMSGHDR_BYTES);
    headers.writeBigUInt64LE(koffi.address(vectors) + BigInt(i * IOVEC_BYTES), i * MMSGHDR_BYTES + 16);
    headers.writeBigUInt64LE(1n, i * MMSGHDR_BYTES + 24);
  }
  const header32 = new Uint32Array(headers.buffer, headers.byteOffset, headers.length / 4);
  const vector32 = new Uint32Array(vectors.buffer, vectors.byteOffset, vectors.length / 4);
  const parent = process.ppid;
  process.stdout.write('ready\n');

  for (;;) {
    for (let i = 0; i < BATCH; i++) {
      vector32[i * 4 + 2] = SLOT_BYTES; // iov_len
      header32[i * 16 + 2] = ADDRESS_BYTES; // msg_namelen
    }
    const count: number = recvmmsg(handle, headers, BATCH, MSG_WAITFORONE, null);
    if (count <= 0) {
      if (process.ppid !== parent) return;
      continue;
    }
    let from = 0;
    for (let i = 0; i < count; i++) {
      const at = i * SLOT_BYTES;
      const length = header32[i * 16 + 14]; // msg_len
      if (length < DNS_HEADER_BYTES || payloads[at + 2] & 0x80) {
        // Too short, or itself an answer: answering it could start an endless exchange.
        send(handle, headers, from, i);
        from = i + 1;
        continue;
      }
      vector32[i * 4 + 2] = length;
      payloads[at + 2] |= 0x80; // QR
      payloads[at + 3] = 0x80; // RA, NOERROR
    }
    send(handle, headers, from, count);
  }
}

/** Sends the messages `from` up to `to` of a batch. */
function send(handle: number, headers: Buffer, from: number, to: number): void {
  while (from < to) {
    const sent: number = sendmmsg(handle, headers.subarray(from * MMSGHDR_BYTES), to - from, 0);
    if (sent <= 0) return;
    from += sent;
  }
}
