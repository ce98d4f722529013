import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Where `test/prepare.ts` puts the list of the npm package top-sites. */
export const TOP_SITES_FOLDER = fileURLToPath(new URL('../../node_modules/.cache/warta-test', import.meta.url));
export const TOP_SITES_FILE = join(TOP_SITES_FOLDER, 'top-sites.json');

/** Returns the 500 most linked hosts, or `undefined` when the list could not be had. */
export function readTopSites(): string[] | undefined {
  if (!existsSync(TOP_SITES_FILE)) return undefined;
  const sites = JSON.parse(readFileSync(TOP_SITES_FILE, 'utf8')) as { rootDomain: string }[];
  return sites.map(({ rootDomain }) => rootDomain);
}
