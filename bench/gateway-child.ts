/** A gateway process for `bench/gateway.ts`: the options as JSON in the first argument, its ports as JSON on stdout. */
import { Gateway } from '../src/gateway/gateway.ts';
import { createNoticeRenderer } from '../src/gateway/notice-page/notice-renderer.ts';
import { createUrlRules, type NoticeDetails } from '../src/gateway/url-rules.ts';

/** What the process is started with. */
export interface GatewayStart {
  host: string;
  listed: string;
  originPort: number;
  idleSeconds: number;
}

const start = JSON.parse(process.argv[2]!) as GatewayStart;
const notice: NoticeDetails = {
  reference: 'BENCH/1',
  authority: 'The Commission',
  instrument: 'The Act',
  section: '263',
  category: 'online-scams',
  sealed: false,
  fromSeconds: 0,
  contacts: ['mailto:appeals@authority.example'],
};
const gateway = await Gateway.start({
  http: { host: '127.0.0.1', port: 0 },
  rules: createUrlRules([{ url: start.listed, notice, fromSeconds: 0 }]),
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
