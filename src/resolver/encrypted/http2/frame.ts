/** Types of frames (RFC 9113 §6). Others are ignored. */
export const FRAME = {
  DATA: 0,
  HEADERS: 1,
  PRIORITY: 2,
  RST_STREAM: 3,
  SETTINGS: 4,
  PUSH_PROMISE: 5,
  PING: 6,
  GOAWAY: 7,
  WINDOW_UPDATE: 8,
  CONTINUATION: 9,
} as const;

/** Flags of frames; what one means depends on the type. */
export const FLAG = { END_STREAM: 0x01, ACK: 0x01, END_HEADERS: 0x04, PADDED: 0x08, PRIORITY: 0x20 } as const;

/** Error codes of RST_STREAM and GOAWAY (RFC 9113 §7). */
export const ERROR = {
  NO_ERROR: 0,
  PROTOCOL_ERROR: 1,
  FLOW_CONTROL_ERROR: 3,
  STREAM_CLOSED: 5,
  FRAME_SIZE_ERROR: 6,
  REFUSED_STREAM: 7,
  CANCEL: 8,
  COMPRESSION_ERROR: 9,
  ENHANCE_YOUR_CALM: 11,
} as const;
export type Http2Error = (typeof ERROR)[keyof typeof ERROR];

/** Settings (RFC 9113 §6.5.2). Others are ignored. */
export const SETTING = {
  HEADER_TABLE_SIZE: 1,
  ENABLE_PUSH: 2,
  MAX_CONCURRENT_STREAMS: 3,
  INITIAL_WINDOW_SIZE: 4,
  MAX_FRAME_SIZE: 5,
  MAX_HEADER_LIST_SIZE: 6,
} as const;

/** Octets before each frame's payload. */
export const FRAME_HEADER_BYTES = 9;
/** Longest payload sent and taken: the least that everyone must take (RFC 9113 §4.2). */
export const MAX_FRAME_BYTES = 16_384;
/** Longest payload that a peer may say it takes. */
export const LARGEST_FRAME_BYTES = 0xffffff;
/** Flow-control window of a connection and of its streams until told otherwise. */
export const DEFAULT_WINDOW_BYTES = 65_535;
/** Largest flow-control window. */
export const MAX_WINDOW_BYTES = 0x7fffffff;
/** What a client sends first (RFC 9113 §3.4). */
export const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1');
