import type { Command } from 'commander';
import type { Config } from '../config/config.ts';
import { startNode } from './node.ts';
import { registerNodeCommand } from './node-command.ts';

/** Says where the resolver listens, and how. */
function listListeners({ resolver: { listen, tls } }: Config): string {
  const kinds = [
    [listen, 'UDP, TCP'],
    [tls.dot.listen, 'DoT'],
    [tls.doh.listen, 'DoH'],
  ] as const;
  const listeners = kinds.filter(([addresses]) => addresses.length > 0);
  return listeners.map(([addresses, kind]) => `${addresses.join(', ')} (${kind})`).join(', ');
}

/** Adds `warta resolver`. */
export function registerResolverCommand(program: Command): void {
  registerNodeCommand(program, {
    name: 'resolver',
    description: 'run the resolver sidecar: apply the signed notices, forward everything else',
    example: 'config/warta.yaml',
    unit: 'warta-resolver',
    start: startNode,
    describe: (config) => `${config.resolver.mode === 'observe' ? '(observe mode) ' : ''}on ${listListeners(config)}`,
    stopping: 'stopping',
  });
}
