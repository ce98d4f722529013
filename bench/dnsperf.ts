import { spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { killOnExit } from './child-processes.ts';
import { medianOf } from './statistics.ts';

/** As many clients and queries in flight as keep every server here busy, from one sending thread. */
const LOAD_ARGUMENTS = ['-c', '8', '-T', '1', '-q', '400'];
/** Time past the end of a run after which dnsperf counts as hung: it waits 5 s for the last answers. */
const GRACE_SECONDS = 20;
/** Share of answers that must have the expected RCODE, else the figure is not one of the right thing. */
const EXPECTED_SHARE = 0.999;

/** What to ask whom, and which RCODE every answer must have. */
export interface Load {
  port: number;
  queryFile: string;
  seconds: number;
  rcode: 'NOERROR' | 'NXDOMAIN';
}

/** Outcome of one run at full speed. */
export interface LoadResult {
  queriesPerSecond: number;
  answered: number;
  lost: number;
}

/**
 * Asks as fast as the server answers.
 *
 * @throws {Error} when dnsperf fails or hangs, or when less than 99.9 % of the answers have the expected RCODE.
 */
export async function measureThroughput(load: Load): Promise<LoadResult> {
  const output = await runDnsperf(load, []);
  const answered = readNumber(output, /Queries completed:\s+(\d+)/);
  return {
    queriesPerSecond: readNumber(output, /Queries per second:\s+([\d.]+)/),
    answered,
    lost: readNumber(output, /Queries lost:\s+(\d+)/),
  };
}

/** Returns the median answer time, in microseconds, of queries sent at a fixed rate. Throws as the other does. */
export async function measureMedianLatencyMicros(load: Load, queriesPerSecond: number): Promise<number> {
  // -v prints a line for each answer: "> RCODE NAME TYPE SECONDS", the time with six decimals.
  const output = await runDnsperf(load, ['-Q', String(queriesPerSecond), '-v']);
  const latencies = Array.from(output.matchAll(/^> \S+ \S+ \S+ ([\d.]+)$/gm), (match) => Number(match[1]) * 1e6);
  if (latencies.length === 0) throw new Error('dnsperf printed no latency: its -v output has changed');
  return medianOf(latencies);
}

/** Latencies of a run at a fixed rate, in microseconds, and how many queries got no answer. */
export interface LatencyResult {
  medianMicros: number;
  p99Micros: number;
  answered: number;
  lost: number;
}

/**
 * Asks at a fixed rate and returns the spread of answer times. dnsperf writes each answer's time to a file, as a pipe would
 * take its reader's share of the processor away from the server under test.
 */
export async function measureLatencies(
  load: Load,
  queriesPerSecond: number,
  outputPath: string,
): Promise<LatencyResult> {
  await runDnsperf(load, ['-Q', String(queriesPerSecond), '-v'], outputPath);
  const output = readFileSync(outputPath, 'utf8');
  const latencies = Float64Array.from(output.matchAll(/^> \S+ \S+ \S+ ([\d.]+)$/gm), (match) => Number(match[1]) * 1e6);
  latencies.sort();
  return {
    medianMicros: latencies[Math.floor(latencies.length * 0.5)],
    p99Micros: latencies[Math.floor(latencies.length * 0.99)],
    answered: readNumber(output, /Queries completed:\s+(\d+)/),
    lost: readNumber(output, /Queries lost:\s+(\d+)/),
  };
}

async function runDnsperf(load: Load, extra: string[], outputPath?: string): Promise<string> {
  const target = ['-s', '127.0.0.1', '-p', String(load.port), '-d', load.queryFile, '-l', String(load.seconds)];
  const output = await collect(
    'dnsperf',
    [...target, ...LOAD_ARGUMENTS, ...extra],
    load.seconds + GRACE_SECONDS,
    outputPath,
  );
  const answered = readNumber(output, /Queries completed:\s+(\d+)/);
  const codes = /Response codes:\s+(.*)/.exec(output)?.[1] ?? 'none';
  const expected = Number(new RegExp(`${load.rcode} (\\d+)`).exec(codes)?.[1] ?? 0);
  if (answered === 0 || expected < answered * EXPECTED_SHARE) {
    throw new Error(`port ${load.port}: ${answered} answers, expected ${load.rcode}, got ${codes}`);
  }
  return output;
}

/** Runs a program to its end and returns what it printed. */
function collect(command: string, args: string[], timeoutSeconds: number, outputPath?: string): Promise<string> {
  const file = outputPath === undefined ? undefined : openSync(outputPath, 'w');
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      stdio: ['ignore', file ?? 'pipe', 'pipe'],
      env: { ...process.env, LC_ALL: 'C' },
      timeout: timeoutSeconds * 1000,
      killSignal: 'SIGKILL',
    });
    killOnExit(child);
    const printed: string[] = [];
    const complaints: string[] = [];
    child.stdout?.setEncoding('utf8').on('data', (text: string) => printed.push(text));
    child.stderr!.setEncoding('utf8').on('data', (text: string) => complaints.push(text));
    child.on('error', reject);
    child.on('close', (code, signal) => {
      if (file !== undefined) closeSync(file);
      if (code === 0) resolve(outputPath === undefined ? printed.join('') : readFileSync(outputPath, 'utf8'));
      else reject(new Error(`${command} ended with ${signal ?? code}: ${complaints.join('').trim().slice(-300)}`));
    });
  });
}

function readNumber(output: string, pattern: RegExp): number {
  const match = pattern.exec(output);
  if (!match) throw new Error(`dnsperf printed no line matching ${pattern}`);
  return Number(match[1]);
}
