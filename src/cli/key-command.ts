import type { Command } from 'commander';
import { paint } from '../base/terminal.ts';
import { createKey, publicKeyOf, readPrivateKey, writePrivateKey } from '../register/key.ts';
import { composeRows, printJson } from './output.ts';

/** Adds `warta key new` and `warta key show`. */
export function registerKeyCommand(program: Command): void {
  const key = program.command('key').description("an officer's signing key (Ed25519)");
  key
    .command('new')
    .description('make a key file that only its owner can read; an existing file is never overwritten')
    .requiredOption('--out <file>', 'where the private key goes (PKCS#8 PEM, mode 0600)')
    .option('--json', 'print JSON')
    .action((options: { out: string; json?: boolean }) => makeKey(options.out, options.json));
  key
    .command('show')
    .description('print the public key of a key file')
    .argument('<file>', 'private key (PKCS#8 PEM)')
    .option('--json', 'print JSON')
    .action((file: string, options: { json?: boolean }) => showKey(file, options.json));
}

/** Writes a new key and prints its public half. */
function makeKey(file: string, json = false): void {
  const { privatePem, publicKey } = createKey();
  writePrivateKey(file, privatePem);
  if (json) {
    printJson({ file, publicKey });
    return;
  }
  console.log(
    composeRows([
      ['private key', `${paint('cyan', file)} (keep it offline, and a copy in another place)`],
      ['public key', paint('green', publicKey)],
      ['next', 'put the public key into authorities.json, as "publicKey" of its officer'],
    ]),
  );
}

/** Prints the public key alone, so that a script can take it as it is. */
function showKey(file: string, json = false): void {
  const publicKey = publicKeyOf(readPrivateKey(file));
  if (json) printJson({ file, publicKey });
  else console.log(publicKey);
}
