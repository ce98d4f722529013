import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, relative, resolve, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const SOURCE = fileURLToPath(new URL('../src/', import.meta.url));

/** Which folders each folder of src may import besides itself. */
const MAY_IMPORT: Record<string, readonly string[]> = {
  base: [],
  config: ['base'],
  metrics: ['base'],
  dns: ['base'],
  pages: ['base'],
  rules: ['base', 'dns'],
  register: ['base', 'dns', 'rules'],
  resolver: ['base', 'dns', 'rules', 'metrics'],
  gateway: ['base', 'dns', 'pages', 'rules', 'metrics'],
  log: ['base'],
  trust: ['base'],
  sync: ['base', 'rules', 'register', 'log', 'trust', 'metrics'],
  control: ['base', 'pages', 'register', 'log', 'trust', 'metrics'],
  store: ['base', 'control'],
  audit: ['base', 'dns', 'rules', 'register', 'log', 'trust', 'sync'],
  cli: [
    'base',
    'config',
    'metrics',
    'dns',
    'rules',
    'register',
    'resolver',
    'gateway',
    'log',
    'trust',
    'sync',
    'control',
    'store',
    'audit',
  ],
};

/** What `store` implements, which is all that it sees of `control`. */
const STORE_INTERFACES = ['control/store.ts', 'control/access/roles.ts'];

/** What enforcement must survive without. */
const CONTROL_PLANE = ['register', 'log', 'trust', 'sync', 'control', 'audit', 'store'];

const IMPORT =
  /\b(?:from|import)\s*\(?\s*(['"`])(?<module>[^'"`]+)\1|\bnew\s+URL\(\s*(['"`])(?<url>[^'"`]+\.ts)\3\s*,\s*import\.meta\.url/g;

/** The modules that TypeScript source names: imports of every kind, re-exports, and files given as URLs (worker threads). */
function findImports(source: string): string[] {
  const code = source.replace(/\/\*[\s\S]*?\*\//g, '').replace(/^\s*\/\/.*$/gm, '');
  return [...code.matchAll(IMPORT)].map(({ groups }) => groups!.module ?? groups!.url!);
}

const folderOf = (file: string) => relative(SOURCE, file).split(sep)[0]!;
const files = readdirSync(SOURCE, { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.ts'))
  .map((name) => resolve(SOURCE, name));
const folders = readdirSync(SOURCE, { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map((entry) => entry.name);

/** The source files that each source file imports. */
const imports = new Map(
  files.map((file) => {
    const local = findImports(readFileSync(file, 'utf8')).filter((module) => module.startsWith('.'));
    return [file, local.map((module) => resolve(dirname(file), module))];
  }),
);

describe('findImports', () => {
  it.each([
    [`import { a } from './a.ts';`, './a.ts'],
    [`import type { a, b } from "../b/b.ts";`, '../b/b.ts'],
    [`import {\n  a,\n  type B,\n} from '../c.ts';`, '../c.ts'],
    [`import './side-effect.ts';`, './side-effect.ts'],
    [`export * from './d.ts';`, './d.ts'],
    [`export { type E } from './e.ts';`, './e.ts'],
    [`const f = await import('./f.ts');`, './f.ts'],
    ['let g: typeof import(`./g.ts`);', './g.ts'],
    [`new Worker(new URL('./h.ts', import.meta.url), {})`, './h.ts'],
    [`new URL(\n  './i.ts',\n  import.meta.url,\n)`, './i.ts'],
  ])('sees %j', (source, module) => {
    expect(findImports(source)).toEqual([module]);
  });

  it.each([
    `// import './a.ts';`,
    `/* from './a.ts' */`,
    `const from = './a.ts';`,
    `new URL('./list.json', import.meta.url)`,
  ])('sees nothing in %j', (source) => {
    expect(findImports(source)).toEqual([]);
  });
});

describe('the source', () => {
  it('is where this test looks', () => {
    expect(files.length).toBeGreaterThan(30);
    expect([...imports.values()].flat().length).toBeGreaterThan(100);
  });

  it('names only files that exist, each with its extension', () => {
    const missing = [...imports].flatMap(([file, targets]) =>
      targets.filter((target) => !existsSync(target)).map((target) => `${relative(SOURCE, file)}: ${target}`),
    );
    expect(missing).toEqual([]);
  });

  it.each(folders)('of %s imports only what the architecture allows', (folder) => {
    const allowed = MAY_IMPORT[folder];
    expect(allowed, `src/${folder} is not in the import table`).toBeDefined();
    const wrong = [...imports]
      .filter(([file]) => folderOf(file) === folder)
      .flatMap(([file, targets]) =>
        targets
          .filter((target) => ![folder, ...allowed!].includes(folderOf(target)))
          .map((target) => `${relative(SOURCE, file)} imports ${relative(SOURCE, target)}`),
      );
    expect(wrong).toEqual([]);
  });

  it('of the store sees nothing of control but the interfaces it implements', () => {
    const seen = [...imports]
      .filter(([file]) => folderOf(file) === 'store')
      .flatMap(([, targets]) => targets.map((target) => relative(SOURCE, target)))
      .filter((target) => target.startsWith('control/'));
    expect(seen).toContain('control/store.ts');
    expect(seen.filter((target) => !STORE_INTERFACES.includes(target))).toEqual([]);
  });

  it('of the resolver reaches no file of the control plane, directly or through others', () => {
    const reached = new Set(files.filter((file) => folderOf(file) === 'resolver'));
    for (const file of reached) for (const target of imports.get(file) ?? []) reached.add(target);
    const wrong = [...reached].filter((file) => CONTROL_PLANE.includes(folderOf(file)));
    expect(wrong.map((file) => relative(SOURCE, file))).toEqual([]);
    expect(reached.size).toBeGreaterThan(20);
  });

  it.each(folders)('of %s says its job in a README', (folder) => {
    const path = resolve(SOURCE, folder, 'README.md');
    expect(existsSync(path) && readFileSync(path, 'utf8').trim().length > 80).toBe(true);
  });

  it('has files named for what they hold', () => {
    const names = files.map((file) => relative(SOURCE, file));
    expect(names.filter((name) => !/^([a-z0-9]+(-[a-z0-9]+)*\/)+[a-z0-9]+(-[a-z0-9]+)*(\.d)?\.ts$/.test(name))).toEqual(
      [],
    );
    expect(names.filter((name) => /\b(utils?|helpers?|managers?|common|misc)\b/.test(name))).toEqual([]);
  });

  it('lets one file alone make foreign calls', () => {
    const foreign = files.filter((file) => /['"]koffi['"]/.test(readFileSync(file, 'utf8')));
    expect(foreign.map((file) => relative(SOURCE, file))).toEqual(['base/libc.ts']);
  });
});
