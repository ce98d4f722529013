import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { paint } from '../base/terminal.ts';
import { loadConfig } from '../config/config.ts';
import { composeEnrolmentProof } from '../control/nodes/enrolment-proof.ts';
import { createKey, publicKeyOf, readPrivateKey, writePrivateKey } from '../register/key.ts';
import { callApi } from './api-client.ts';
import { NODE_KEY_FILE } from './follow-register.ts';
import { escapeControls, printJson } from './output.ts';

interface EnrolOptions {
  config: string;
  to: string;
  code: string;
  json?: boolean;
}

/** Adds `enrol` below `warta resolver` or `warta gateway`. */
export function registerEnrolCommand(node: Command): void {
  node
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
  const body = { code, publicKey, proof, licensee, node };
  await callApi(to, { method: 'POST', path: '/v1/nodes', body });
  if (json) printJson({ licensee, node, publicKey });
  else console.log(`${paint('green', 'enrolled')} ${escapeControls(`${licensee}/${node}`)}`);
}
