/** A gateway process for `bench/gateway.ts`: the options as JSON in the first argument, its ports as JSON on stdout. */
import { Gateway } from '../src/gateway/gateway.ts';
import { createNoticeRenderer } from '../src/gateway/notice-page/notice-renderer.ts';
import { createTableRules } from '../src/gateway/table-rules.ts';
import { compileRules, NOTICE } from '../test/rules/fixture.ts';

/** What the process is started with. */
export interface GatewayStart {
  host: string;
  listed: string;
  originPort: number;
  idleSeconds: number;
}

const start = JSON.parse(process.argv[2]!) as GatewayStart;
// The rules as a node has them, so that finding a page costs here what it costs there.
const table = compileRules([{ name: start.host, trigger: 'exact', action: 'steer', entry: 1 }], {
  pages: [{ entry: 1, url: start.listed, anyQuery: false }],
  notices: [{ ...NOTICE, page: { instrument: 'act-263', fromSeconds: 1_700_000_000 } }],
});
const gateway = await Gateway.start({
  http: { host: '127.0.0.1', port: 0 },
  rules: createTableRules(table, () => ({ instrument: 'The Act', section: '263' })),
  blockedBy: 'https://operator.example/',
  renderNotice: createNoticeRenderer({ help: {}, operator: 'Bench', categoryTitles: {} }, () => Date.now() / 1000),
  origins: {
    resolvers: { resolve4: async () => [{ address: '127.0.0.1', ttl: 300 }], resolve6: async () => [] },
    allowedPrefixes: ['127.0.0.0/8'],
    ports: { 80: start.originPort },
  },
  limits: { connectionsPerClient: 20_000, idleSeconds: start.idleSeconds },
});
console.log(JSON.stringify({ http: gateway.httpPort }));
process.once('SIGTERM', () => process.exit());
