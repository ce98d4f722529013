import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { isIPv6 } from 'node:net';
import { findProgram } from './programs.ts';

/** Where ip(8) keeps the namespaces that have a name. */
const NAMESPACES_FOLDER = '/run/netns';
/** Every namespace of the tests begins so; what follows says whose it is (see `ownerOf`). */
const PREFIX = 'warta-test-';
const SWITCH = 'switch';

/** A host to make: a name of at most ten letters, and its IPv4 and IPv6 addresses, which may be of any prefix. */
export interface HostPlan {
  readonly name: string;
  readonly addresses: readonly string[];
}

/** A program and its arguments. */
export type CommandLine = [program: string, args: string[]];

/** A host of a network: a network namespace of its own. */
export class Host {
  readonly namespace: string;
  readonly addresses: readonly string[];

  constructor(namespace: string, addresses: readonly string[]) {
    this.namespace = namespace;
    this.addresses = addresses;
  }

  /**
   * Returns the command line that runs a program on this host. It is the process itself, whose id its parent knows, and it ends
   * when the parent does. `resolvConf` is a file that the program finds as /etc/resolv.conf, and no other process does.
   */
  wrap(program: string, args: readonly string[], resolvConf?: string): CommandLine {
    const command = program.includes('/') ? program : (findProgram(program) ?? program);
    const own = ['--pdeathsig', 'KILL', findProgram('ip')!, 'netns', 'exec', this.namespace];
    // `ip netns exec` gives the program mounts of its own.
    const mount = resolvConf && ['sh', '-c', 'mount --bind "$0" /etc/resolv.conf && exec "$@"', resolvConf];
    return [findProgram('setpriv')!, [...own, ...(mount || []), command, ...args]];
  }
}

/**
 * Hosts on one switch, each a network namespace, apart from the machine's own network in everything: their ports 53, 80 and 443
 * are free, and nothing leaves them. Every address is on the link, whatever its prefix. All of it goes when `remove` is called,
 * and also when this process ends in any other way, SIGKILL included: a shell that waits for that removes it.
 */
export class Network {
  readonly hosts: Readonly<Record<string, Host>>;
  readonly #switch: string;
  readonly #namespaces: readonly string[];
  readonly #remover: ChildProcess;

  private constructor(prefix: string, plans: readonly HostPlan[]) {
    this.#switch = `${prefix}${SWITCH}`;
    this.hosts = Object.fromEntries(
      plans.map(({ name, addresses }) => [name, new Host(`${prefix}${name}`, addresses)]),
    );
    this.#namespaces = [this.#switch, ...Object.values(this.hosts).map(({ namespace }) => namespace)];
    this.#remover = startRemover(this.#namespaces);
  }

  /**
   * Makes the hosts, and removes what dead runs left.
   *
   * @throws {Error} with what ip(8) printed; nothing is left then.
   */
  static async create(plans: readonly HostPlan[]): Promise<Network> {
    removeStaleNamespaces();
    const network = new Network(composePrefix(), plans);
    try {
      network.#build(plans);
    } catch (error) {
      await network.remove();
      throw error;
    }
    return network;
  }

  #build(plans: readonly HostPlan[]): void {
    const added = this.#namespaces.map((namespace) => `netns add ${namespace}`);
    runIp(undefined, added);
    const ports = plans.flatMap(({ name }) => [
      `link add ${name} type veth peer name eth0 netns ${this.hosts[name]!.namespace}`,
      `link set ${name} master bridge up`,
    ]);
    runIp(this.#switch, ['link add bridge type bridge', 'link set bridge up', ...ports]);
    for (const { name, addresses } of plans) {
      runIp(this.hosts[name]!.namespace, [
        'link set lo up',
        'link set eth0 up',
        ...addresses.map((one) => `address add ${one}/${isIPv6(one) ? '128 dev eth0 nodad' : '32 dev eth0'}`),
        'route add 0.0.0.0/0 dev eth0',
        'route add ::/0 dev eth0',
      ]);
    }
  }

  /** Takes a host off the switch: nothing answers there, not even with a refusal. */
  unplug(name: string): void {
    runIp(this.#switch, [`link set ${name} nomaster`]);
  }

  /** Undoes `unplug`. */
  plug(name: string): void {
    runIp(this.#switch, [`link set ${name} master bridge`]);
  }

  /** Ends every process on the hosts and removes them. */
  async remove(): Promise<void> {
    const isGone = this.#remover.exitCode !== null || this.#remover.signalCode !== null;
    const gone = isGone ? undefined : once(this.#remover, 'exit');
    this.#remover.ref();
    this.#remover.stdin!.end();
    await gone;
  }
}

/**
 * Says why no network can be made here, or undefined when one can. The suites that need one are skipped then, which CI counts as
 * a failure.
 */
export function findNamespaceFault(): string | undefined {
  if (process.platform !== 'linux') return 'this is not Linux';
  if (process.getuid?.() !== 0) return 'only root may make network namespaces';
  for (const program of ['ip', 'setpriv', 'mount']) {
    if (findProgram(program) === undefined) return `the program ${program} is missing`;
  }
  const name = `${composePrefix()}trial`;
  try {
    runIp(undefined, [`netns add ${name}`]);
    const links = ['link add bridge type bridge', 'link add one type veth peer name two'];
    runIp(name, [...links, 'address add 2001:db8::1/128 dev one nodad']);
    return undefined;
  } catch (error) {
    return (error as Error).message;
  } finally {
    removeNamespace(name);
  }
}

let made = 0;

/** Namespaces of one network: the process that made it, when that process began (ids come again), and which one it is. */
function composePrefix(): string {
  return `${PREFIX}${process.pid}-${readStart(process.pid)}-${++made}-`;
}

/** Whether the process that made a namespace still runs. */
function hasOwner(namespace: string): boolean {
  const [, pid, start] = /^(\d+)-(\d+)-/.exec(namespace.slice(PREFIX.length)) ?? [];
  return pid !== undefined && readStart(Number(pid)) === start;
}

/** When a process began, in ticks since the machine did (proc(5), field 22 of stat); undefined when there is none. */
function readStart(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
  } catch {
    return undefined;
  }
}

/** Removes the networks of processes that run no longer. */
export function removeStaleNamespaces(): void {
  if (!existsSync(NAMESPACES_FOLDER)) return;
  for (const name of readdirSync(NAMESPACES_FOLDER)) {
    if (name.startsWith(PREFIX) && !hasOwner(name)) removeNamespace(name);
  }
}

/** Removes namespaces with the processes in them; one that is gone already is no error. */
const REMOVE = `for name do
  for pid in $(ip netns pids "$name" 2>/dev/null); do kill -9 "$pid" 2>/dev/null; done
  ip netns delete "$name" 2>/dev/null
done
:`;

function removeNamespace(name: string): void {
  execFileSync('sh', ['-c', REMOVE, 'sh', name], { env: environment(), stdio: 'ignore' });
}

/** Starts a shell that removes namespaces as soon as its input ends; in a group of its own, so that no interrupt reaches it. */
function startRemover(names: readonly string[]): ChildProcess {
  const remover = spawn('sh', ['-c', `cat >/dev/null; ${REMOVE}`, 'sh', ...names], {
    env: environment(),
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true,
  });
  remover.stdin!.on('error', () => {});
  remover.unref();
  return remover;
}

/** Runs commands of ip(8), in a namespace unless it is undefined. */
function runIp(namespace: string | undefined, commands: readonly string[]): void {
  try {
    execFileSync('ip', [...(namespace === undefined ? [] : ['-n', namespace]), '-batch', '-'], {
      env: environment(),
      input: `${commands.join('\n')}\n`,
      stdio: ['pipe', 'pipe', 'pipe'],
    });
  } catch (error) {
    const printed = String((error as { stderr?: Buffer }).stderr ?? '').trim();
    throw new Error(`ip: ${printed.replaceAll('\n', '; ') || (error as Error).message}`, { cause: error });
  }
}

/** The folder of ip(8) may be missing from PATH. */
function environment(): NodeJS.ProcessEnv {
  return { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` };
}
