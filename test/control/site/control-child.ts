/**
 * The control API as a process of its own, for tests that kill it and for benches: `control-child.ts <control.yaml> [file]`.
 * It is `warta control run` without the rest of the command line, which takes half a second longer to load. With a second
 * file it loads its code and then waits until that file is there, so that a test need not wait for the loading.
 */
import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { pino } from 'pino';
import { loadControlConfig } from '../../../src/control/control-config.ts';
import { ControlSite } from '../../../src/control/control-site.ts';
import { parseSocketAddress } from '../../../src/resolver/socket-address.ts';
import { openStore } from '../../../src/store/open-store.ts';

const [, , file, gate] = process.argv;
while (gate !== undefined && !existsSync(gate)) await sleep(2);
const config = loadControlConfig(file!);
const log = pino({ level: 'warn' });
const store = await openStore(config.database);
const site = await ControlSite.open(config, { store, log });
await site.start();
const { host, port } = parseSocketAddress(config.listen, 0);
console.log(`control on ${await site.app.listen({ host, port })}`);
process.once('SIGTERM', async () => {
  await site.close();
  await store.close();
});
