import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { request } from 'undici';
import { describeError, type ErrorCode, WartaError } from '../base/errors.ts';
import { paint } from '../base/terminal.ts';
import { loadConfig } from '../config/config.ts';
import { composeEnrolmentProof } from '../control/nodes/enrolment-proof.ts';
import { createKey, publicKeyOf, readPrivateKey, writePrivateKey } from '../register/key.ts';
import { NODE_KEY_FILE } from './node.ts';
import { escapeControls, printJson } from './output.ts';

interface EnrolOptions {
  config: string;
  to: string;
  code: string;
  json?: boolean;
}

/** Longest answer that is read. */
const ANSWER_MAX_BYTES = 65_536;
const TIMEOUT_MILLIS = 30_000;

/** Adds `warta resolver enrol`. */
export function registerEnrolCommand(resolver: Command): void {
  resolver
    .command('enrol')
    .description("enrol this node's key with the code that its operator was given")
    .requiredOption('-c, --config <file>', 'configuration file of the node')
    .requiredOption('--to <url>', "address of the register's control API")
    .requiredOption('--code <code>', 'enrolment code, good once')
    .option('--json', 'print JSON')
    .action(enrolNode);
}

/** Proves to the register that this node has its key; the key itself never leaves the host. */
async function enrolNode({ config: file, to, code, json }: EnrolOptions): Promise<void> {
  const config = loadConfig(file);
  const { licensee, node } = config.register;
  const keyFile = join(config.state, NODE_KEY_FILE);
  if (!existsSync(keyFile)) writePrivateKey(keyFile, createKey().privatePem);
  const key = readPrivateKey(keyFile);
  const publicKey = publicKeyOf(key);
  const proof = composeEnrolmentProof(code, key);
  await post(new URL('v1/nodes', to.endsWith('/') ? to : `${to}/`), { code, publicKey, proof, licensee, node });
  if (json) printJson({ licensee, node, publicKey });
  else console.log(`${paint('green', 'enrolled')} ${escapeControls(`${licensee}/${node}`)}`);
}

/** @throws {WartaError} `socket-failed` when the register cannot be reached, or the code of its refusal. */
async function post(target: URL, body: object): Promise<void> {
  let status: number;
  let text = '';
  try {
    const answer = await request(target, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(TIMEOUT_MILLIS),
    });
    status = answer.statusCode;
    for await (const chunk of answer.body) {
      text += chunk;
      if (text.length > ANSWER_MAX_BYTES) break;
    }
  } catch (cause) {
    throw new WartaError('socket-failed', `cannot reach ${target}: ${describeError(cause)}`, { cause });
  }
  if (status === 201) return;
  const { code, detail } = parseProblem(text);
  if (typeof code === 'string' && typeof detail === 'string') {
    throw new WartaError(code as ErrorCode, escapeControls(detail));
  }
  throw new WartaError('socket-failed', `${target} answered ${status}: is it the address of a register's control API?`);
}

function parseProblem(text: string): { code?: unknown; detail?: unknown } {
  try {
    return JSON.parse(text) ?? {};
  } catch {
    return {};
  }
}
