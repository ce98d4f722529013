import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { parse, stringify } from 'yaml';
import { GatewayWording } from '../../src/cli/gateway-wording.ts';
import { NOTICE } from '../gateway/fixture.ts';
import { makeFolder } from '../support/folders.ts';
import { PACK_FILE } from '../support/test-authority.ts';

const REQUEST = { blocked: 'http://host.example/', acceptLanguage: 'en', accept: undefined };

let file: string;

/** Writes the pack with other keys under `appeals` and another title of the category. */
function writePack(appeals: object, title = 'Scams'): void {
  const pack = parse(readFileSync(PACK_FILE, 'utf8'));
  const { formUrl: _, ...others } = pack.appeals;
  pack.appeals = { ...others, ...appeals };
  pack.categories.find(({ id }: { id: string }) => id === NOTICE.category).title.en = title;
  writeFileSync(file, stringify(pack));
}

beforeEach(() => {
  file = join(makeFolder(), 'pack.yaml');
});

describe('what notice pages say', () => {
  it('of an instrument is its act, title and section', () => {
    writePack({});
    const wording = new GatewayWording(file, 'ISP', () => 0);
    expect(wording.describe('cma-211a', 'N/1')).toEqual({
      instrument: expect.stringMatching(/^Communications and Multimedia Act 1998 .*: Suspension of a service/),
      section: '211A',
      appealUrl: undefined,
    });
    expect(wording.describe('unknown', 'N/1')).toMatchObject({ instrument: 'unknown', section: '' });
  });

  it.each([
    ['https://appeals.example/form', 'https://appeals.example/form?notice=MCMC%2F2026%2F1+%26'],
    ['https://appeals.example/form?lang=ms', 'https://appeals.example/form?lang=ms&notice=MCMC%2F2026%2F1+%26'],
  ])('of an appeal is the form %s with the reference', (formUrl, appealUrl) => {
    writePack({ formUrl });
    const wording = new GatewayWording(file, 'ISP', () => 0);
    expect(wording.describe('cma-263', 'MCMC/2026/1 &').appealUrl).toBe(appealUrl);
  });

  it('follows the file of the pack, and stays when that is no pack', () => {
    writePack({}, 'First title');
    const wording = new GatewayWording(file, 'The ISP', () => NOTICE.fromSeconds);
    const page = () => wording.render(NOTICE, REQUEST).html;
    expect(page()).toContain('First title');
    expect(page()).toContain('The ISP');
    writePack({}, 'Second title');
    wording.refresh();
    expect(page()).toContain('Second title');
    writeFileSync(file, 'id: x');
    expect(() => wording.refresh()).toThrow(expect.objectContaining({ code: 'pack-invalid' }));
    rmSync(file);
    expect(() => wording.refresh()).toThrow('register.policyPack');
    expect(page()).toContain('Second title');
  });
});
