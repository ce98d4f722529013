/** Octets of a message header (RFC 1035 §4.1.1). */
export const HEADER_BYTES = 12;

/** Longest name in wire form, the root octet included (RFC 1035 §3.1). */
export const MAX_NAME_BYTES = 255;

/** UDP payload size a client without EDNS accepts (RFC 1035 §4.2.1). */
export const PLAIN_UDP_BYTES = 512;

/** UDP payload size that Warta offers and asks for: fits every common path without fragments (DNS flag day 2020). */
export const EDNS_UDP_BYTES = 1232;

/** Response codes (RFC 6895 §2.3). */
export const RCODE = {
  NOERROR: 0,
  FORMERR: 1,
  SERVFAIL: 2,
  NXDOMAIN: 3,
  NOTIMP: 4,
  REFUSED: 5,
  BADVERS: 16,
} as const;

/** Record types this code looks at (IANA DNS parameters). */
export const RRTYPE = {
  A: 1,
  NS: 2,
  CNAME: 5,
  SOA: 6,
  AAAA: 28,
  DNAME: 39,
  OPT: 41,
  RRSIG: 46,
  SVCB: 64,
  HTTPS: 65,
  RESINFO: 261,
} as const;

/** Record classes (RFC 6895 §3.2). */
export const CLASS = { IN: 1, ANY: 255 } as const;

/** EDNS option codes (IANA). Structured DNS errors have no code point yet: the configuration gives one. */
export const EDNS_OPTION = { COOKIE: 10, PADDING: 12, EDE: 15 } as const;

/** Extended DNS error codes (RFC 8914 §4). */
export const EDE = {
  FORGED_ANSWER: 4,
  BLOCKED: 15,
  CENSORED: 16,
  FILTERED: 17,
  NO_REACHABLE_AUTHORITY: 22,
  NETWORK_ERROR: 23,
} as const;

/** Bits of the third header octet. */
export const FLAGS2 = { QR: 0x80, OPCODE: 0x78, AA: 0x04, TC: 0x02, RD: 0x01 } as const;

/** Bits of the fourth header octet. */
export const FLAGS3 = { RA: 0x80, Z: 0x40, AD: 0x20, CD: 0x10, RCODE: 0x0f } as const;
