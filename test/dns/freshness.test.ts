import { describe, expect, it } from 'vitest';
import { NOT_FRESH, readFreshnessSeconds } from '../../src/dns/freshness.ts';

const QUESTION = Buffer.from('0161076578616d706c650000010001', 'hex');
const START = 3;

/** A record of a root owner with a TTL; the data ends with MINIMUM for an SOA. */
function record(type: number, ttl: number, data: Buffer = Buffer.alloc(4)): Buffer {
  const head = Buffer.alloc(11);
  head.writeUInt16BE(type, 1);
  head.writeUInt16BE(1, 3);
  head.writeUInt32BE(ttl, 5);
  head.writeUInt16BE(data.length, 9);
  return Buffer.concat([head, data]);
}

const soa = (ttl: number, minimum: number) => {
  const data = Buffer.alloc(22);
  data.writeUInt32BE(minimum, 18);
  return record(6, ttl, data);
};

function message(flags: number, answers: Buffer[], authorities: Buffer[] = []): Buffer {
  const header = Buffer.alloc(12);
  header.writeUInt16BE(0x8000 | flags, 2);
  header.writeUInt16BE(1, 4);
  header.writeUInt16BE(answers.length, 6);
  header.writeUInt16BE(authorities.length, 8);
  return Buffer.concat([header, QUESTION, ...answers, ...authorities]);
}

const read = (wire: Buffer) =>
  readFreshnessSeconds(Buffer.concat([Buffer.alloc(START, 0xff), wire, Buffer.alloc(9, 0xff)]), START, wire.length);

describe('readFreshnessSeconds', () => {
  it.each([
    ['the smallest TTL of the answers', message(0, [record(5, 300), record(1, 60), record(1, 90)]), 60],
    ['answers alone when there are any', message(0, [record(1, 60)], [soa(5, 5)]), 60],
    ['zero', message(0, [record(1, 60), record(1, 0)]), 0],
    ['a TTL above 31 bits as zero', message(0, [record(1, 0x80000000)]), 0],
    ["an SOA's TTL", message(3, [], [soa(30, 900)]), 30],
    ["an SOA's MINIMUM", message(0, [], [record(2, 5), soa(900, 40)]), 40],
    ['nothing without an SOA', message(3, [], [record(2, 5)]), NOT_FRESH],
    ['nothing of an empty answer', message(0, []), NOT_FRESH],
    ['nothing of SERVFAIL', message(2, [record(1, 60)]), NOT_FRESH],
    ['nothing of REFUSED', message(5, []), NOT_FRESH],
    ['nothing of a truncated answer', message(0x200, [record(1, 60)]), NOT_FRESH],
    ['nothing of half a message', message(0, [record(1, 60), record(1, 50)]).subarray(0, -3), NOT_FRESH],
  ])('reads %s', (_, wire, seconds) => {
    expect(read(wire)).toBe(seconds);
  });

  it('never reads past the end, wherever the message is cut', () => {
    const whole = message(0, [record(5, 300), record(1, 60)], [soa(1, 1)]);
    for (let length = 0; length < whole.length - soa(1, 1).length; length++) {
      expect(read(whole.subarray(0, length))).toBe(NOT_FRESH);
    }
  });
});
