import type { SocketAddress } from '../socket-address.ts';

/**
 * Every message and its client's address live in one array, the arena, so that a message moves with one copy inside it and
 * the kernel reads and writes it in place. A slot is:
 *
 *     struct sockaddr | its length, control bytes' length | control message | cookie | room for a PROXY header | message
 */
export const SLOT = {
  /** `struct sockaddr` of the client, 28 octets at most. */
  PEER: 0,
  /** Length of the sockaddr and of the control message. */
  PEER_BYTES: 29,
  CONTROL_BYTES: 30,
  /** IP_PKTINFO of a message to a wildcard address, so that the answer leaves from the address that was asked. */
  CONTROL: 32,
  /** COOKIE option data for the answer, 24 octets. */
  COOKIE: 96,
  /** A PROXY header, 52 octets at most, ends here. */
  MESSAGE: 192,
} as const;

/** Octets of a slot for queries: 25 cache lines; an even number would put all slots into few sets of the cache. */
export const QUERY_SLOT_BYTES = 1600;
/** Octets of a slot for replies: 69 cache lines; behind the longest reply there is room for a cookie. */
export const REPLY_SLOT_BYTES = 4416;
/** Longest query taken over UDP; a longer one fills the slot and is dropped. An answer of our own fits too. */
export const MAX_QUERY_BYTES = QUERY_SLOT_BYTES - SLOT.MESSAGE;
/** Longest reply taken from an upstream over UDP. Queries ask for 1232 octets at most. */
export const MAX_REPLY_BYTES = REPLY_SLOT_BYTES - SLOT.MESSAGE - 64;
/** Messages a batch, one system call. */
export const BATCH = 64;

/** What the data plane asks of the sockets. Offsets are into the arena. */
export interface DatagramIo {
  readonly arena: Uint8Array;
  /** File descriptors of the listeners that outlive the thread unless closed; none where the runtime owns them. */
  readonly descriptors: readonly number[];
  /** Sends `arena[message, +length)` to the client whose slot starts at `slot`, from the listener it came to. */
  answer(listener: number, slot: number, message: number, length: number): void;
  /** Sends `arena[message, +length)` to the upstream that upstream port `port` is connected to. */
  forward(port: number, message: number, length: number): void;
  /** Replaces the socket of an upstream port, so that it gets another random source port. */
  renewPort(port: number): void;
  /** Serves until `handler.tick` returns false: the batch backend blocks its thread, the dgram backend resolves later. */
  run(handler: DatagramHandler): Promise<void> | void;
}

/** What the sockets ask of the data plane. A batch is what one wake-up brought from one socket. */
export interface DatagramHandler {
  beginBatch(): void;
  onQuery(listener: number, slot: number, length: number): void;
  onReply(port: number, slot: number, length: number): void;
  /** All answers and queries of the batch have been handed to the kernel. */
  endBatch(): void;
  /** The upstream behind a port refused a message (ICMP port unreachable). */
  onRefused(port: number): void;
  onSendFailures(count: number): void;
  /** Called every few milliseconds, also without traffic; false ends `run`. */
  tick(): boolean;
}

/** Where to listen and whom to ask. Upstream port `p` leads to upstream `floor(p / portsPerUpstream)`. */
export interface DatagramIoOptions {
  listen: readonly SocketAddress[];
  upstreams: readonly SocketAddress[];
  portsPerUpstream: number;
  /** Slots the data plane keeps for queries under way; they follow the receive slots in the arena. */
  pendingSlots: number;
}

/** Where the parts of the arena start. */
export const QUERY_SLOTS_AT = 0;
export const REPLY_SLOTS_AT = BATCH * QUERY_SLOT_BYTES;
export const PENDING_SLOTS_AT = REPLY_SLOTS_AT + BATCH * REPLY_SLOT_BYTES;

/** Makes an arena. Pages of slots that are never used cost no memory. */
export function createArena(pendingSlots: number): Uint8Array {
  return new Uint8Array(PENDING_SLOTS_AT + pendingSlots * QUERY_SLOT_BYTES);
}

/** How often `tick` is called, and how soon a stop or a swap is noticed without traffic. */
export const TICK_MILLIS = 20;
