import { createWriteStream } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { type OpenedRegister, openRegister } from '../audit/open-register.ts';
import { systemClock } from '../base/clock.ts';
import { WartaError } from '../base/errors.ts';
import { createProgress, type Progress } from '../base/terminal.ts';
import { hashHex } from '../register/canonical.ts';
import { canonicaliseName, fitsWire } from '../register/entry-name.ts';
import { parseInstant } from '../register/time.ts';
import { readPinnedRoot } from '../sync/register-archive.ts';
import { PACK_FILE } from './demo-register.ts';
import { readInput } from './output.ts';

/** What every audit command takes. */
export interface AuditOptions {
  mirror: string[];
  root: string;
  pack?: string[];
  cache: string;
  annexes?: string[];
  asOf?: number;
  json?: boolean;
}

/** Names `--isp` and says what it is. */
export const ISP_OPTION = ['--isp <licence>', 'licence number of the ISP'] as const;

/** Adds the options that every audit command takes. */
export function addAuditOptions(command: Command, needsMirror = true): Command {
  const collected = (flags: string, description: string) => new Option(flags, description).argParser(collect);
  const mirror = collected('--mirror <place>', 'URL of the register, or a folder with a copy; repeat it for more');
  return command
    .addOption(mirror.makeOptionMandatory(needsMirror))
    .requiredOption('--root <file>', '1.root.json of the register, as it was handed over: trust begins with it')
    .addOption(collected('--pack <file>', 'policy pack, other than the one of this package; repeat it for more'))
    .addOption(
      collected('--annexes <folder>', 'annexes that no public mirror has, such as sealed ones; repeat it for more'),
    )
    .option('--cache <folder>', 'where what was verified is kept for the next time', defaultCache())
    .option('--as-of <time>', 'judge what is due or expired by this time, for a copy of the past', parseTime)
    .option('--json', 'print JSON');
}

function collect(value: string, earlier: readonly string[] = []): string[] {
  return [...earlier, value];
}

/** Where what was verified of a register is kept. */
export function defaultCache(): string {
  return join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'warta/audit');
}

/** Parses a time in an option. */
export function parseTime(text: string): number {
  const seconds = parseInstant(text);
  if (seconds === undefined) throw new InvalidArgumentError('Write a time such as 2026-03-01T09:00:00Z.');
  return seconds;
}

/** Parses a domain name in an option. */
export function parseName(text: string): string {
  const name = canonicaliseName(text);
  if (name === undefined || !fitsWire(name)) {
    throw new InvalidArgumentError('Write a domain name such as bank.example.');
  }
  return name;
}

/** Parses a number above zero in an option. */
export function parsePositive(text: string): number {
  const value = Number(text);
  if (!(value > 0 && value <= 1_000_000)) throw new InvalidArgumentError('Write a number above zero.');
  return value;
}

/** The time that expiry and what is due are judged by. */
export function nowOf({ asOf }: Pick<AuditOptions, 'asOf'>): number {
  return asOf ?? Math.floor(systemClock.wallMillis() / 1000);
}

const STEPS = {
  leaves: 'fetching the log',
  statements: 'verifying statements',
  annexes: 'fetching annexes',
  entries: 'reading annexes',
  files: 'comparing mirrors',
  receipts: 'reading receipts',
  questions: 'asking',
};

/** Shows how far each step is, one bar after the other; silent where the error output is no terminal. */
export class StepProgress {
  #step: keyof typeof STEPS | undefined;
  #bar: Progress | undefined;

  update(step: keyof typeof STEPS, done: number, total: number): void {
    if (step !== this.#step) {
      this.done();
      this.#step = step;
      this.#bar = createProgress(STEPS[step]);
    }
    this.#bar?.update(done, total);
  }

  done(): void {
    this.#bar?.done();
    this.#bar = undefined;
    this.#step = undefined;
  }
}

/** Opens the register that the options name, does something with it, and closes it. */
export async function withRegister<T>(
  options: AuditOptions,
  act: (opened: OpenedRegister, progress: StepProgress) => Promise<T> | T,
): Promise<T> {
  const { mirror: mirrors, root, pack = [], cache, annexes = [] } = options;
  const pinnedRoot = readPinnedRoot(root);
  const progress = new StepProgress();
  try {
    const opened = await openRegister({
      mirrors,
      pinnedRoot,
      packs: [PACK_FILE, ...pack].map((file) => readInput(file)),
      // Registers do not share a cache: each has a root of its own.
      cacheFolder: join(cache, hashHex(pinnedRoot).slice(0, 16)),
      annexFolders: annexes,
      nowSeconds: nowOf(options),
      onProgress: (step, done, total) => progress.update(step, done, total),
    });
    try {
      return await act(opened, progress);
    } finally {
      await opened.archive.close();
    }
  } finally {
    progress.done();
  }
}

/** Lines written at once. */
const LINES_AT_ONCE = 1_000;

/**
 * Writes lines to a file, or to the standard output without one, as fast as they are taken.
 *
 * @throws {WartaError} `store-failed`.
 */
export async function writeLines(lines: Iterable<string>, file: string | undefined): Promise<void> {
  const chunks = Readable.from(joinLines(lines));
  try {
    if (file === undefined) await pipeline(chunks, process.stdout, { end: false });
    else await pipeline(chunks, createWriteStream(file));
  } catch (cause) {
    // Whoever reads the output may have had enough of it.
    if ((cause as NodeJS.ErrnoException).code === 'EPIPE') return;
    throw new WartaError('store-failed', `cannot write ${file ?? 'the output'}: check the folder and its owner`, {
      cause,
    });
  }
}

function* joinLines(lines: Iterable<string>): Generator<string> {
  let batch: string[] = [];
  for (const line of lines) {
    batch.push(line);
    if (batch.length < LINES_AT_ONCE) continue;
    yield `${batch.join('\n')}\n`;
    batch = [];
  }
  if (batch.length > 0) yield `${batch.join('\n')}\n`;
}
