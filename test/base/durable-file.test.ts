import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { writeDurably } from '../../src/base/durable-file.ts';
import { WartaError } from '../../src/base/errors.ts';

const calls = vi.hoisted(() => [] as string[]);
vi.mock('node:fs', async (load) => {
  const real = await load<typeof import('node:fs')>();
  const record = (name: 'fsyncSync' | 'renameSync') =>
    vi.fn((...parameters: unknown[]) => {
      calls.push(name);
      return (real[name] as (...parameters: unknown[]) => unknown)(...parameters);
    });
  return { ...real, fsyncSync: record('fsyncSync'), renameSync: record('renameSync') };
});

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'warta-durable-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** The coded error that `act` throws, with the system's code below it. */
function failureOf(act: () => void): [string, string] {
  try {
    act();
  } catch (error) {
    if (!(error instanceof WartaError)) throw error;
    return [error.code, (error.cause as NodeJS.ErrnoException).code ?? ''];
  }
  throw new Error('nothing was thrown');
}

describe('writeDurably', () => {
  const contents: [string, Parameters<typeof writeDurably>[1], string][] = [
    ['text', 'grüezi', 'grüezi'],
    ['octets', Uint8Array.of(119, 97), 'wa'],
    ['several parts', [Buffer.from('one'), new Uint8Array(0), Buffer.from('two')], 'onetwo'],
    ['nothing', '', ''],
  ];
  it.each(contents)('writes %s and leaves nothing beside it', (_, data, text) => {
    const path = join(folder, 'made', 'on', 'the', 'way', 'file');
    writeDurably(path, data);
    expect(readFileSync(path, 'utf8')).toBe(text);
    expect(readdirSync(join(path, '..'))).toEqual(['file']);
  });

  it('replaces the whole file, also by a shorter one', () => {
    const path = join(folder, 'file');
    writeDurably(path, 'a long old content');
    writeDurably(path, 'new');
    expect(readFileSync(path, 'utf8')).toBe('new');
  });

  it('writes shared memory, as a rule table is', () => {
    const shared = new Uint8Array(new SharedArrayBuffer(3));
    shared.set([1, 2, 3]);
    writeDurably(join(folder, 'file'), shared);
    expect([...readFileSync(join(folder, 'file'))]).toEqual([1, 2, 3]);
  });

  it('syncs the content before the rename and the folder after it', () => {
    calls.length = 0;
    writeDurably(join(folder, 'file'), 'x');
    expect(calls).toEqual(['fsyncSync', 'renameSync', 'fsyncSync']);
  });

  it('gives the asked mode', () => {
    writeDurably(join(folder, 'secret'), 'x', 0o600);
    expect(statSync(join(folder, 'secret')).mode & 0o777).toBe(0o600);
  });
});

describe('a failed write leaves the old file and nothing beside it', () => {
  it('on a full disk', () => {
    const path = join(folder, 'file');
    writeFileSync(path, 'old');
    symlinkSync('/dev/full', `${path}.staged`);
    expect(failureOf(() => writeDurably(path, 'new'))).toEqual(['store-failed', 'ENOSPC']);
    expect(readFileSync(path, 'utf8')).toBe('old');
    expect(readdirSync(folder)).toEqual(['file']);
  });

  it('when the folder is a file', () => {
    writeFileSync(join(folder, 'file'), 'old');
    const [code, cause] = failureOf(() => writeDurably(join(folder, 'file', 'below'), 'new'));
    expect(code).toBe('store-failed');
    expect(['ENOTDIR', 'EEXIST']).toContain(cause);
    expect(readFileSync(join(folder, 'file'), 'utf8')).toBe('old');
  });

  it('when a folder is in its place', () => {
    mkdirSync(join(folder, 'file', 'kept'), { recursive: true });
    expect(failureOf(() => writeDurably(join(folder, 'file'), 'new'))[0]).toBe('store-failed');
    expect(existsSync(join(folder, 'file', 'kept'))).toBe(true);
    expect(readdirSync(folder)).toEqual(['file']);
  });

  it('where nobody may write', () => {
    expect(failureOf(() => writeDurably('/proc/self/warta', 'new'))[0]).toBe('store-failed');
  });
});

describe('a reader at any moment', () => {
  const bytes = 200_000;
  const program = (path: string) => `
    import { writeDurably } from ${JSON.stringify(new URL('../../src/base/durable-file.ts', import.meta.url).href)};
    for (let i = 0; ; i++) {
      writeDurably(${JSON.stringify(path)}, Buffer.alloc(${bytes}, i & 1 ? 'a' : 'b'));
      if (i === 3) process.stdout.write('writing');
    }`;

  it('finds the old content or the new, also after the writer was killed', async () => {
    const path = join(folder, 'file');
    const writer = spawn(process.execPath, ['--input-type=module-typescript', '-e', program(path)]);
    const ended = once(writer, 'exit');
    await once(writer.stdout, 'data');
    const seen = new Set<string>();
    for (let reads = 0; reads < 400 || seen.size < 2; reads++) seen.add(describeContent(readFileSync(path)));
    writer.kill('SIGKILL');
    await ended;
    seen.add(describeContent(readFileSync(path)));
    expect([...seen].sort()).toEqual(['a', 'b']);
  });

  /** The one letter that the content is made of, or what is wrong with it. */
  function describeContent(content: Buffer): string {
    const whole = content.equals(Buffer.alloc(bytes, content[0]));
    return whole ? String.fromCharCode(content[0]!) : `a mixture of ${content.length} octets`;
  }
});
