import type { Server } from './dns-client.ts';
import { runProgram } from './programs.ts';

/** An answer as ISC's dig prints it. */
export interface DigAnswer {
  /** RCODE, or undefined when there was no answer. */
  status: string | undefined;
  flags: string[];
  /** The EDNS version, flags and size of the answer's OPT record. */
  edns?: { version: number; flags: string[]; udpBytes: number };
  /** Undefined EDNS flag bits of the answer, which must be zero. */
  strayFlags: boolean;
  ede?: string;
  /** Server and client cookie in hexadecimal, and dig's judgement of them. */
  cookie?: { hex: string; judgement: string };
  /** All that was printed. */
  output: string;
}

/** Asks with dig. Recursion is desired, cookies are off; `args` may say otherwise. `run` runs it, on another host perhaps. */
export async function dig(
  server: Server,
  name: string,
  args: readonly string[] = [],
  run: typeof runProgram = runProgram,
): Promise<DigAnswer> {
  const base = [`@${server.host}`, '-p', String(server.port), '+tries=1', '+timeout=5', '+nocookie'];
  const { stdout, stderr } = await run('dig', [...base, ...args, name]);
  const output = stdout + stderr;
  const edns = /; EDNS: version: (\d+), flags:([^;]*);(?: MBZ: \S+,)? udp: (\d+)/.exec(output);
  const cookie = /; COOKIE: ([0-9a-f]+)(?: \((\w+)\))?/.exec(output);
  return {
    status: /status: (\w+)/.exec(output)?.[1],
    flags: /^;; flags:([^;]*);/m.exec(output)?.[1]?.trim().split(' ') ?? [],
    edns: edns
      ? {
          version: Number(edns[1]),
          flags: edns[2]!.trim() === '' ? [] : edns[2]!.trim().split(' '),
          udpBytes: Number(edns[3]),
        }
      : undefined,
    strayFlags: /MBZ:/.test(output),
    ede: /; EDE: (.*)/.exec(output)?.[1],
    cookie: cookie ? { hex: cookie[1]!, judgement: cookie[2] ?? '' } : undefined,
    output,
  };
}
