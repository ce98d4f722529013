import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Clock } from '../../../src/base/clock.ts';
import { systemClock } from '../../../src/base/clock.ts';
import { openTrust } from '../../../src/control/publishing/log-site.ts';
import { readLeaves } from '../../../src/control/publishing/register-tree.ts';
import type { RegisterView } from '../../../src/control/view/register-view.ts';
import { createRegisterView } from '../../../src/control/view/tree-view.ts';
import { DirectoryStorage } from '../../../src/log/directory-storage.ts';
import { annexPath } from '../../../src/register/annex.ts';
import { parseAuthorities } from '../../../src/register/authorities.ts';
import { parseLeaf } from '../../../src/register/leaf.ts';
import { readRegister } from '../../../src/register/read-register.ts';
import type { StatementLeaf } from '../../../src/register/verify-statement.ts';
import { pack } from '../../register/fixture.ts';
import type { LogRegister } from '../../support/log-register.ts';

/** What a view of a test's register is made of. */
export function viewOptions(register: LogRegister, clock: Clock = systemClock) {
  return {
    tree: new DirectoryStorage(register.publicFolder),
    sealedTree: new DirectoryStorage(register.sealedFolder),
    trust: openTrust(register.config),
    clock,
  };
}

export function openView(register: LogRegister, clock?: Clock): Promise<RegisterView> {
  return createRegisterView(viewOptions(register, clock));
}

/** Reads a register from scratch by the reader that nodes have, with whole statements. */
export async function readNaively(
  register: LogRegister,
  { size = register.size, licensee = '-', nowSeconds = 0 } = {},
) {
  const leaves: StatementLeaf[] = [];
  let latest = 0;
  let index = 0;
  for await (const bytes of readLeaves(new DirectoryStorage(register.publicFolder), 0, register.size)) {
    if (index === size) break;
    leaves.push(describeLeaf(bytes, index++, latest));
    latest = Math.max(latest, leaves.at(-1)!.integratedAtSeconds ?? 0);
  }
  const read = (digest: string) => {
    const found = [
      join(register.publicFolder, annexPath(digest, false)),
      join(register.sealedFolder, annexPath(digest, true)),
    ].find((path) => existsSync(path));
    return found === undefined ? undefined : readFileSync(found);
  };
  const authorities = parseAuthorities(JSON.stringify(register.authorities));
  return readRegister(leaves, { read }, { authorities, pack, licensee, nowSeconds });
}

function describeLeaf(bytes: Uint8Array, index: number, latest: number): StatementLeaf {
  const name = `#${index}`;
  try {
    const { envelope, integratedAtSeconds } = parseLeaf(bytes);
    const held = integratedAtSeconds < latest ? ('statement-backdated' as const) : undefined;
    return { name, envelope, integratedAtSeconds, held };
  } catch {
    return { name, envelope: new Uint8Array(), integratedAtSeconds: 0, unreadable: 'no leaf' };
  }
}
