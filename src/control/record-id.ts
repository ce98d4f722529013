/**
 * Makes the id of a new record: a UUID of version 7 (RFC 9562 §5.7), so that ids follow the time they were made.
 *
 * @param random returns that many unpredictable bytes.
 */
export function createRecordId(nowMillis: number, random: (sizeBytes: number) => Uint8Array): string {
  const bytes = Buffer.alloc(16);
  bytes.writeUIntBE(nowMillis, 0, 6);
  bytes.set(random(10), 6);
  bytes[6] = 0x70 | (bytes[6]! & 0x0f);
  bytes[8] = 0x80 | (bytes[8]! & 0x3f);
  const hex = bytes.toString('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}
