/** Makes a network with a process in it, says so, and waits to be killed: what must go then is for `network.test.ts` to see. */
import { spawn } from 'node:child_process';
import { Network } from '../support/namespaces.ts';

const { hosts } = await Network.create([{ name: 'one', addresses: ['198.51.100.1'] }]);
// Without `wrap`, which would end it with its parent.
const child = spawn('ip', ['netns', 'exec', hosts.one!.namespace, 'sleep', '600'], { stdio: 'ignore', detached: true });
child.on('spawn', () => console.log(JSON.stringify({ names: [hosts.one!.namespace], pid: child.pid })));
setInterval(() => {}, 60_000);
