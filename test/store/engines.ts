import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe } from 'vitest';
import type { Store } from '../../src/control/store.ts';
import { openStore } from '../../src/store/open-store.ts';
import { makeFolder } from '../support/folders.ts';
import { hasPostgres, startPostgres, type TestPostgres } from '../support/postgres.ts';

/** What a suite works with: databases of one engine. */
export interface EngineBench {
  readonly engine: Store['engine'];
  /** Names a database that is empty or not yet there. */
  makeTarget(): Promise<string>;
  /** Opens a database, a new one unless told which; it is closed after the test. */
  open(target?: string): Promise<Store>;
}

/** Runs a suite on SQLite and on PostgreSQL. Without PostgreSQL its half shows as skipped. */
export function describeEngines(name: string, suite: (bench: EngineBench) => void): void {
  describe(`${name} on SQLite`, () => {
    let count = 0;
    const folder = makeFolder();
    suite(makeBench('sqlite', async () => `sqlite:${join(folder, `${++count}.db`)}`));
  });
  describe.skipIf(!hasPostgres())(`${name} on PostgreSQL`, () => {
    let postgres: TestPostgres;
    beforeAll(async () => {
      postgres = await startPostgres();
    });
    afterAll(() => postgres?.stop());
    suite(makeBench('postgresql', () => postgres.createDatabase()));
  });
}

function makeBench(engine: Store['engine'], makeTarget: () => Promise<string>): EngineBench {
  const opened: Store[] = [];
  afterEach(async () => {
    await Promise.all(opened.splice(0).map((store) => store.close()));
  });
  return {
    engine,
    makeTarget,
    async open(target) {
      const store = await openStore(target ?? (await makeTarget()));
      opened.push(store);
      return store;
    },
  };
}
