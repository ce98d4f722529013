import { hash } from 'node:crypto';
import { Client, type ClientConfig } from 'pg';

/** How often the connection is tried, and how long it may take to answer: a cable that is cut tells nobody. */
const PULSE = { beatMillis: 5000, answerMillis: 5000 };

/**
 * Takes an advisory lock on a connection of its own, so that PostgreSQL releases it when the process or its network is
 * gone. A pooler in between must keep sessions together.
 */
export async function takePostgresLock(
  config: ClientConfig,
  name: string,
  onLost: () => void = () => {},
  { beatMillis, answerMillis } = PULSE,
): Promise<(() => Promise<void>) | undefined> {
  const client = new Client({
    fallback_application_name: `warta ${name}`,
    connectionTimeoutMillis: answerMillis,
    query_timeout: answerMillis,
    ...config,
  });
  let state: 'taking' | 'held' | 'ended' = 'taking';
  const end = (isLost: boolean) => {
    const wasHeld = state === 'held';
    state = 'ended';
    clearInterval(beat);
    if (wasHeld && isLost) onLost();
  };
  let isAsked = false;
  const beat = setInterval(async () => {
    if (state !== 'held' || isAsked) return;
    isAsked = true;
    try {
      await client.query('select 1');
      isAsked = false;
    } catch {
      end(true);
      client.end().catch(() => {});
    }
  }, beatMillis).unref();
  client.on('error', () => end(true));
  client.on('end', () => end(true));
  try {
    await client.connect();
    const { rows } = await client.query('select pg_try_advisory_lock($1) as taken', [lockKey(name)]);
    if (rows[0].taken === true && state === 'taking') {
      state = 'held';
      return async () => {
        end(false);
        await client.end().catch(() => {});
      };
    }
    end(false);
    await client.end();
    return undefined;
  } catch (error) {
    end(false);
    client.end().catch(() => {});
    throw error;
  }
}

/** Advisory locks have 64-bit numbers. */
function lockKey(name: string): string {
  return hash('sha256', `warta lock ${name}`, 'buffer').readBigInt64BE().toString();
}
