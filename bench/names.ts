import { closeSync, openSync, writeSync } from 'node:fs';

/** Words of the kind scam and gambling names are made of. None has the token's length: see {@link nameAt}. */
const WORDS = ['secure', 'login', 'wallet', 'promo', 'bonus', 'casino', 'kasino', 'parcel', 'refund', 'verify', 'claim']
  .concat(['airdrop1', 'myaccount', 'bank', 'ewallet4u', 'onlinebank', 'slot', 'togel', 'judi', 'hadiah', 'pinjaman'])
  .concat(['pelaburan', 'shop', 'deals', 'crypto', 'invest', 'free-gift', 'tax', 'post', 'saman', 'bantuan-rakyat']);

/** Labels put before the registered domain of a third-level name. `www` is kept for the queries below a listed name. */
const HOSTS = ['login', 'pay', 'secure', 'm', 'app', 'my', 'web', 'id', 'portal', 'go', 'claim', 'account'];

/** Public suffixes, one or two labels, repeated about as often as they occur in block lists. */
const SUFFIXES = [
  'com',
  'com',
  'com',
  'com',
  'com',
  'net',
  'org',
  'info',
  'xyz',
  'xyz',
  'top',
  'top',
  'shop',
  'online',
].concat([
  'site',
  'club',
  'icu',
  'vip',
  'live',
  'cc',
  'ru',
  'cn',
  'my',
  'com.my',
  'com.my',
  'net.my',
  'co.uk',
  'co',
  'app',
]);

const TOKEN_CHARACTERS = 7;

/**
 * Returns the name of `index` (0 … 2³²-1), the same on every run, about a third of them third-level names.
 *
 * Two indexes never give the same registered domain, so all names are distinct and none lies below another: the
 * token is a bijection of the index, stands at one end of the label behind a hyphen, and no word has its length.
 */
export function nameAt(index: number): string {
  const mixed = scramble(index);
  const token = mixed.toString(36).padStart(TOKEN_CHARACTERS, '0');
  const word = WORDS[mixed % WORDS.length];
  const suffix = SUFFIXES[(mixed >>> 5) % SUFFIXES.length];
  const label = mixed & 0x80 ? `${word}-${token}` : `${token}-${word}`;
  const domain = `${label}.${suffix}`;
  return (mixed >>> 10) % 3 === 0 ? `${HOSTS[(mixed >>> 13) % HOSTS.length]}.${domain}` : domain;
}

/** Mixes all bits of a 32-bit integer; a bijection, since each step can be undone. */
function scramble(index: number): number {
  let mixed = Math.imul(index ^ 0x5bd1e995, 0x9e3779b1);
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
  return (mixed ^ (mixed >>> 16)) >>> 0;
}

/**
 * Returns the listed name that the query `position` asks for: a walk over the list in long strides, so that neighbours
 * in the query stream are far apart in every peer's memory and no name comes twice before all came once.
 */
export function listedQueryAt(position: number, ruleCount: number): string {
  let stride = Math.max(1, Math.floor(ruleCount * 0.618));
  while (greatestCommonDivisor(stride, ruleCount) !== 1) stride++;
  const name = nameAt((position * stride) % ruleCount);
  return position & 1 ? `www.${name}` : name;
}

/** Returns a name outside the list for the query `position`, of the same shapes as the listed ones. */
export function unlistedQueryAt(position: number, ruleCount: number): string {
  const name = nameAt(ruleCount + position);
  return position & 1 ? `www.${name}` : name;
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}

/** Lines gathered before they are written: large enough to be quick, small enough to stay out of the way. */
const LINES_PER_WRITE = 20_000;

/** Writes `header`, then `lineAt(0)` … `lineAt(count - 1)`, each ended by a newline, without holding them all. */
export function writeLines(path: string, count: number, lineAt: (index: number) => string, header = ''): void {
  const file = openSync(path, 'w');
  try {
    let text = header;
    for (let index = 0; index < count; index++) {
      text += `${lineAt(index)}\n`;
      if (index % LINES_PER_WRITE === LINES_PER_WRITE - 1) {
        writeSync(file, text);
        text = '';
      }
    }
    writeSync(file, text);
  } finally {
    closeSync(file);
  }
}
