/**
 * The control API as a process of its own, for tests that kill it and for benches: `control-child.ts <control.yaml>`. It is
 * `warta control run` without the rest of the command line, which takes half a second longer to load.
 */
import { pino } from 'pino';
import { loadControlConfig } from '../../../src/control/control-config.ts';
import { ControlSite } from '../../../src/control/control-site.ts';
import { parseSocketAddress } from '../../../src/resolver/socket-address.ts';
import { openStore } from '../../../src/store/open-store.ts';

const config = loadControlConfig(process.argv[2]!);
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
