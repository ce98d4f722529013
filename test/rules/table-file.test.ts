import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { WartaError } from '../../src/base/errors.ts';
import { HEADER } from '../../src/rules/layout.ts';
import { digestOf, loadTable, saveTable } from '../../src/rules/table-file.ts';
import { compileRules, find, NOW, nameAt } from './fixture.ts';

let folder: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'warta-table-'));
  path = join(folder, 'table');
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const rules = Array.from({ length: 40 }, (_, i) => ({ name: nameAt(i), entry: i }));
const table = compileRules(rules);

/** The code of the error that loading throws. */
function codeOf(file: string): string {
  try {
    loadTable(file);
  } catch (error) {
    if (!(error instanceof WartaError)) throw error;
    return error.code;
  }
  return 'none';
}

describe('a saved table', () => {
  it('is loaded as it was', () => {
    saveTable(path, table);
    const loaded = loadTable(path);
    loaded.setTime(NOW, NOW);
    expect(Buffer.from(loaded.bytes).equals(Buffer.from(new Uint8Array(table)))).toBe(true);
    for (const { name, entry } of rules) expect(loaded.entryOf(find(loaded, name))).toBe(entry);
  });

  it('is the octets and their SHA-256', () => {
    saveTable(path, table);
    const file = readFileSync(path);
    const octets = file.subarray(0, -32);
    expect(octets.equals(Buffer.from(new Uint8Array(table)))).toBe(true);
    expect(file.subarray(-32).equals(createHash('sha256').update(octets).digest())).toBe(true);
    expect(digestOf(new Uint8Array(table)).equals(file.subarray(-32))).toBe(true);
  });

  it('is refused with any octet changed', () => {
    saveTable(path, table);
    const file = readFileSync(path);
    // Every octet of the header and of the digest, and one in 37 between.
    for (let at = 0; at < file.length; at += at < 128 || at >= file.length - 32 ? 1 : 37) {
      file[at]! ^= 1 << (at % 8);
      writeFileSync(path, file);
      expect(codeOf(path), `octet ${at}`).toBe('table-damaged');
      file[at]! ^= 1 << (at % 8);
    }
  });

  it('is refused cut short or with more behind it', () => {
    saveTable(path, table);
    const file = readFileSync(path);
    for (const length of [0, 1, 31, 32, 33, 64, 96, 1_000, file.length - 64, file.length - 1]) {
      writeFileSync(path, file.subarray(0, length));
      expect(codeOf(path), `${length} octets`).toBe('table-damaged');
    }
    writeFileSync(path, Buffer.concat([file, Buffer.alloc(64)]));
    expect(codeOf(path)).toBe('table-damaged');
  });

  it('of another version is refused though its hash is right', () => {
    const foreign = new SharedArrayBuffer(table.byteLength);
    new Uint8Array(foreign).set(new Uint8Array(table));
    new Uint32Array(foreign)[HEADER.VERSION]! += 1;
    saveTable(path, foreign);
    expect(codeOf(path)).toBe('table-foreign');
  });

  it('that is missing says so in the cause', () => {
    expect(() => loadTable(path)).toThrow(
      expect.objectContaining({ code: 'store-failed', cause: expect.objectContaining({ code: 'ENOENT' }) }) as Error,
    );
  });

  it('whose place a folder has is refused with a code too', () => {
    mkdirSync(path);
    expect(codeOf(path)).toBe('store-failed');
  });
});
