import { nameAt, writeLines } from '../names.ts';

/** Origin of the response policy zone in every peer that reads one. */
export const POLICY_ZONE = 'rpz.bench';

const HEADER = `$TTL 60
$ORIGIN ${POLICY_ZONE}.
@ IN SOA localhost. root.localhost. 1 3600 600 86400 60
@ IN NS localhost.
`;

/** Writes the list as a response policy zone: `CNAME .` (NXDOMAIN) for each name and, by `*.`, all names below it. */
export function writePolicyZone(path: string, ruleCount: number): void {
  writeLines(path, ruleCount, (index) => `${nameAt(index)} CNAME .\n*.${nameAt(index)} CNAME .`, HEADER);
}
