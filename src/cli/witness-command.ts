import { join } from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { systemClock } from '../base/clock.ts';
import { WartaError } from '../base/errors.ts';
import { paint } from '../base/terminal.ts';
import { DirectoryStorage } from '../log/directory-storage.ts';
import { composeVerifierKey, parseVerifierKey } from '../log/note.ts';
import { type WatchedLog, Witness } from '../log/witness.ts';
import { createWitnessServer } from '../log/witness-server.ts';
import { createKey, publicKeyOf, readPrivateKey, writePrivateKey } from '../register/key.ts';
import { parseSocketAddress, type SocketAddress } from '../resolver/socket-address.ts';
import { createLog } from './log.ts';
import { composeRows, printJson } from './output.ts';
import { waitForSignal } from './signals.ts';

const DEFAULT_PORT = 5380;
const DEFAULT_LISTEN = `127.0.0.1:${DEFAULT_PORT}`;

/** Says whose state a folder holds, so that an empty or a foreign one is not taken for a witness that saw nothing yet. */
const OWNER_FILE = 'witness.json';

/** A raw Ed25519 key in base64; a verifier key is longer. */
const BARE_KEY = /^[A-Za-z0-9+/]{43}=$/;

interface InitOptions {
  key: string;
  name: string;
  state: string;
  json?: boolean;
}

interface RunOptions {
  listen: SocketAddress;
  key: string;
  name: string;
  state: string;
  origin?: string;
  logKey: string;
}

/** Adds `warta witness init` and `warta witness run`. */
export function registerWitnessCommand(program: Command): void {
  const witness = program
    .command('witness')
    .description('cosign a log after checking that it only ever grew; run by someone other than the log');
  witness
    .command('init')
    .description('make the key and the state of a new witness, and print what the others need to know of it')
    .requiredOption('--key <file>', 'where the private key goes (PKCS#8 PEM, mode 0600)')
    .requiredOption('--name <name>', 'name of the witness, such as witness.example/w1')
    .requiredOption('--state <folder>', 'where it will remember what it has seen')
    .option('--json', 'print JSON')
    .action(initWitness);
  witness
    .command('run', { isDefault: true })
    .description('answer the log, and monitors')
    .addOption(
      new Option('--listen <address>', 'address and port to listen on')
        .argParser(parseListen)
        .default(parseListen(DEFAULT_LISTEN), DEFAULT_LISTEN),
    )
    .requiredOption('--key <file>', 'private key of the witness')
    .requiredOption('--name <name>', 'name of the witness')
    .requiredOption('--state <folder>', 'what it remembers; never lose it, never set it back')
    .option('--origin <origin>', 'name of the log; a verifier key has it already')
    .requiredOption('--log-key <key>', "the log's verifier key (name+id+key), or its public key in base64")
    .action(runWitness);
}

function parseListen(text: string): SocketAddress {
  try {
    return parseSocketAddress(text, DEFAULT_PORT);
  } catch {
    throw new InvalidArgumentError('Write 192.0.2.1:5380 or [2001:db8::1]:5380.');
  }
}

/** `warta witness init`. */
async function initWitness({ key, name, state, json = false }: InitOptions): Promise<void> {
  const storage = storageOf(state);
  if ((await storage.read(OWNER_FILE)) !== undefined) {
    throw new WartaError('key-exists', `${state} belongs to a witness already: choose another folder`);
  }
  const { privatePem, publicKey } = createKey();
  const verifierKey = composeVerifierKey({ name, type: 'cosignature', publicKey });
  writePrivateKey(key, privatePem);
  await storage.create(OWNER_FILE, composeOwner(name, publicKey));
  if (json) {
    printJson({ name, publicKey, verifierKey, key, state });
    return;
  }
  console.log(
    composeRows([
      ['private key', `${paint('cyan', key)} (for this witness alone: another one needs a key of its own)`],
      ['state', `${paint('cyan', state)} (never restore it from an old copy)`],
      ['public key', paint('green', publicKey)],
      ['verifier key', paint('green', verifierKey)],
      ['next', 'put name and public key into authorities.json, among the witnesses; then warta witness run'],
    ]),
  );
}

/** `warta witness run`. */
async function runWitness({ listen, key, name, state, origin, logKey }: RunOptions): Promise<void> {
  const privateKey = readPrivateKey(key);
  const storage = storageOf(state);
  await requireOwner(storage, state, name, publicKeyOf(privateKey));
  const watched = readLogKey(logKey, origin);
  const witness = await Witness.open({ name, privateKey, logs: [watched], state: storage, clock: systemClock });
  const log = createLog('info');
  const asked = waitForSignal();
  const app = createWitnessServer(witness, (error) => log.error({ err: error }, 'a request failed'));
  try {
    const url = await app.listen({ host: listen.host, port: listen.port });
    log.info(`witness ${name} listens on ${url} for ${watched.origin}`);
    log.info(`${await asked}: stopping`);
  } finally {
    await app.close();
    await witness.close();
  }
}

/** Reads the key of the log and its name, which a verifier key holds both. */
function readLogKey(logKey: string, origin: string | undefined): WatchedLog {
  if (BARE_KEY.test(logKey)) {
    if (origin === undefined) throw new WartaError('usage', 'a bare public key needs --origin: the name of the log');
    return { origin, publicKey: logKey };
  }
  const { name, type, publicKey } = parseVerifierKey(logKey);
  if (type !== 'ed25519') throw new WartaError('key-invalid', '--log-key is the key of a witness, not of a log');
  if (origin !== undefined && origin !== name) {
    throw new WartaError('usage', `--log-key is of ${name}, not of ${origin}`);
  }
  return { origin: name, publicKey };
}

function storageOf(state: string): DirectoryStorage {
  return new DirectoryStorage(state, { isPrivate: true });
}

function composeOwner(name: string, publicKey: string): Buffer {
  return Buffer.from(`${JSON.stringify({ name, publicKey })}\n`);
}

/** Requires that the state is this witness's own. */
async function requireOwner(storage: DirectoryStorage, state: string, name: string, publicKey: string): Promise<void> {
  const owner = await storage.read(OWNER_FILE);
  const path = join(state, OWNER_FILE);
  if (owner === undefined) {
    throw new WartaError(
      'store-failed',
      `${path} is missing: is the folder mounted? warta witness init makes a new one`,
    );
  }
  if (!composeOwner(name, publicKey).equals(owner)) {
    throw new WartaError('key-invalid', `${path} belongs to another witness: check --state, --name and --key`);
  }
}
