import { encodeHuffman } from './huffman-code.ts';
import { STATIC_FIELDS } from './static-fields.ts';

export type Field = [name: string, value: string];

/** How a field is written. */
export interface Form {
  /** By index alone, when the tables have the whole field. */
  whole: boolean;
  /** The name by index, when the tables have it. */
  named: boolean;
  kind: 'kept' | 'plain' | 'never';
  huffman: boolean;
}

export const PLAIN: Form = { whole: true, named: true, kind: 'plain', huffman: false };

/** Encodes header blocks in any form that RFC 7541 allows: a naive oracle, whose table is a list with the newest in front. */
export class NaiveEncoder {
  table: Field[] = [];
  maxBytes = 4096;

  encode(fields: readonly Field[], forms: readonly Form[] = [], sizes: readonly number[] = []): Buffer {
    const parts = sizes.map((size) => {
      this.maxBytes = size;
      this.#evict();
      return encodeNumber(0x20, 5, size);
    });
    fields.forEach((field, at) => {
      parts.push(this.#encodeField(field, forms[at] ?? PLAIN));
    });
    return Buffer.concat(parts);
  }

  #encodeField([name, value]: Field, form: Form): Buffer {
    const all = [...STATIC_FIELDS, ...this.table];
    const whole = all.findIndex((field) => field[0] === name && field[1] === value) + 1;
    if (form.whole && whole > 0) return encodeNumber(0x80, 7, whole);
    const named = form.named ? all.findIndex((field) => field[0] === name) + 1 : 0;
    const [pattern, bits] = { kept: [0x40, 6], plain: [0x00, 4], never: [0x10, 4] }[form.kind] as [number, number];
    if (form.kind === 'kept') {
      this.table.unshift([name, value]);
      this.#evict();
    }
    const parts = [encodeNumber(pattern, bits, named)];
    if (named === 0) parts.push(encodeText(name, form.huffman));
    parts.push(encodeText(value, form.huffman));
    return Buffer.concat(parts);
  }

  #evict(): void {
    const size = () => this.table.reduce((sum, [name, value]) => sum + name.length + value.length + 32, 0);
    while (size() > this.maxBytes) this.table.pop();
  }
}

export function encodeNumber(pattern: number, bits: number, number: number): Buffer {
  const most = 2 ** bits - 1;
  if (number < most) return Buffer.of(pattern | number);
  const octets = [pattern | most];
  let rest = number - most;
  for (; rest >= 128; rest = Math.floor(rest / 128)) octets.push((rest % 128) | 128);
  return Buffer.from([...octets, rest]);
}

export function encodeText(text: string, huffman: boolean): Buffer {
  const octets = Buffer.from(text, 'latin1');
  const coded = huffman ? encodeHuffman(octets) : octets;
  return Buffer.concat([encodeNumber(huffman ? 0x80 : 0, 7, coded.length), coded]);
}
