import { spawnSync } from 'node:child_process';
import { PassThrough } from 'node:stream';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createProgress, paint } from '../../src/base/terminal.ts';

/** A stream that remembers what was written, and claims to be a terminal with colours when asked. */
function createStream(terminal: boolean): { stream: NodeJS.WriteStream; written(): string } {
  const chunks: string[] = [];
  const stream = Object.assign(new PassThrough(), {
    isTTY: terminal,
    getColorDepth: () => (terminal ? 8 : 1),
    hasColors: () => terminal,
    write: (text: string) => chunks.push(text) > 0,
  });
  return { stream: stream as unknown as NodeJS.WriteStream, written: () => chunks.join('') };
}

const ESCAPE = '\x1b[';

beforeEach(() => {
  vi.stubEnv('FORCE_COLOR', undefined);
  vi.stubEnv('NO_COLOR', undefined);
  vi.stubEnv('NODE_DISABLE_COLORS', undefined);
});
afterEach(() => vi.unstubAllEnvs());

describe('paint', () => {
  it('colours on a terminal', () => {
    expect(paint('red', 'no', createStream(true).stream)).toBe('\x1b[31mno\x1b[39m');
  });

  it('leaves text plain in a pipe', () => {
    expect(paint('red', 'no', createStream(false).stream)).toBe('no');
  });

  it('leaves text plain in a real pipe', () => {
    const url = new URL('../../src/base/terminal.ts', import.meta.url).href;
    const program = `import { paint } from ${JSON.stringify(url)};
      process.stdout.write(paint(['bold', 'red'], 'out') + paint('red', 'err', process.stderr));`;
    const { stdout } = spawnSync(process.execPath, ['--input-type=module-typescript', '-e', program]);
    expect(stdout.toString()).toBe('outerr');
  });
});

describe('createProgress', () => {
  it('draws on a terminal and cleans the line up', () => {
    const { stream, written } = createStream(true);
    const progress = createProgress('Compiling', stream);
    progress.update(50, 100);
    expect(written()).toContain('Compiling');
    expect(written()).toContain('50 %');
    progress.done();
    expect(written().endsWith('\r\x1b[2K')).toBe(true);
  });

  it.each([
    [0, 0, '0 %'],
    [7, 5, '100 %'],
  ])('shows %d of %d as %s', (done, total, text) => {
    const { stream, written } = createStream(true);
    createProgress('', stream).update(done, total);
    expect(written()).toContain(` ${text}`);
  });

  it('writes nothing into a pipe', () => {
    const { stream, written } = createStream(false);
    const progress = createProgress('Compiling', stream);
    progress.update(50, 100);
    progress.done();
    expect(written()).not.toContain(ESCAPE);
    expect(written()).toBe('');
  });
});
