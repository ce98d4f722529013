import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openArchive, type RegisterArchive } from '../../src/sync/register-archive.ts';
import { FakeClock } from '../base/fake-clock.ts';
import { makeFolder } from '../support/folders.ts';
import { LogRegister } from '../support/log-register.ts';
import type { MirrorServer } from '../support/mirror-server.ts';

let clock: FakeClock;
let register: LogRegister;
let mirrors: [MirrorServer, MirrorServer];
let cacheFolder: string;
let archives: RegisterArchive[];

beforeEach(async () => {
  clock = new FakeClock();
  archives = [];
  cacheFolder = makeFolder();
  register = await LogRegister.create(makeFolder(), { clock, witnesses: 2, quorum: 2 });
  mirrors = [await register.serve(), await register.serve()];
  await register.notice(['a.example']);
});

afterEach(async () => {
  await Promise.all(archives.map((archive) => archive.close()));
  await register.close();
});

async function open(urls: readonly string[] = mirrors.map(({ url }) => url)): Promise<RegisterArchive> {
  const pinnedRoot = readFileSync(register.rootFile);
  const archive = await openArchive({ mirrors: urls, pinnedRoot, cacheFolder, nowSeconds: clock.wall / 1000 });
  archives.push(archive);
  return archive;
}

const sizeOf = ({ opened }: RegisterArchive) => opened.checkpoint.size;

describe('an archive', () => {
  test('is the register as proven, from the newest of the mirrors', async () => {
    mirrors[0].freeze();
    await register.heartbeat();
    const archive = await open();
    expect([sizeOf(archive), archive.opened.witnessed]).toEqual([2, true]);
    expect([...archive.leaves()].map(({ name, held }) => [name, held])).toEqual([
      ['#0', undefined],
      ['#1', undefined],
    ]);
  });

  test('is opened again from what it kept when there is no mirror', async () => {
    await (await open()).close();
    archives.pop();
    const archive = await open([join(cacheFolder, 'nothing-here')]);
    expect(sizeOf(archive)).toBe(1);
  });

  test('cannot be opened when no mirror shows a checkpoint', async () => {
    for (const mirror of mirrors) mirror.fault = (path) => (path === 'checkpoint' ? 'html' : undefined);
    await expect(open()).rejects.toMatchObject({ code: 'note-invalid' });
  });

  test('gives any other file from whichever mirror has it', async () => {
    const archive = await open();
    const file = register.rootFile.slice(register.publicFolder.length + 1);
    const read = async () => (await archive.fetchFile(file, 65_536))?.toString();
    for (const fault of ['broken', 'absent', 'endless', 'reset'] as const) {
      mirrors[0].fault = () => fault;
      expect([fault, await read()]).toEqual([fault, readFileSync(register.rootFile, 'utf8')]);
    }
    mirrors[1].fault = () => 'absent';
    mirrors[0].fault = () => 'absent';
    expect(await read()).toBeUndefined();
    // That one of them has none says nothing when another could not be asked.
    mirrors[0].fault = () => 'broken';
    await expect(archive.fetchFile(file, 65_536)).rejects.toMatchObject({ code: 'mirror-failed' });
  });
});
