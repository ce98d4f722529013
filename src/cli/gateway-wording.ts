import { readFileSync } from 'node:fs';
import { WartaError } from '../base/errors.ts';
import type { NoticePage, NoticeRequest } from '../gateway/notice-answer.ts';
import { createNoticeRenderer } from '../gateway/notice-page/notice-renderer.ts';
import type { DescribeInstrument } from '../gateway/table-rules.ts';
import type { NoticeDetails } from '../gateway/url-rules.ts';
import { type Pack, parsePack } from '../register/pack.ts';

/** A pack as it was last read. */
interface KeptPack {
  readonly sha256: string;
  readonly pack: Pack;
  readonly render: ReturnType<typeof createNoticeRenderer>;
}

/**
 * What notice pages say that is not in the rule table: from the policy pack, its instruments, categories, help links and appeal
 * form. The gateway itself never reads a pack.
 */
export class GatewayWording {
  readonly #file: string;
  readonly #operator: string;
  readonly #nowSeconds: () => number;
  #kept: KeptPack;

  /**
   * @param nowSeconds seconds since the epoch, for distances in time.
   * @throws {WartaError} `pack-invalid`.
   */
  constructor(file: string, operator: string, nowSeconds: () => number) {
    this.#file = file;
    this.#operator = operator;
    this.#nowSeconds = nowSeconds;
    this.#kept = this.#read();
  }

  /** Makes the page of a notice. */
  render(notice: NoticeDetails, request: NoticeRequest): NoticePage {
    return this.#kept.render(notice, request);
  }

  /** Says an instrument in words; one that the pack does not have stands as its id. */
  describe(id: string, reference: string): ReturnType<DescribeInstrument> {
    const { instruments, appeals } = this.#kept.pack;
    const found = instruments.find((instrument) => instrument.id === id);
    const appealUrl = appeals.formUrl === undefined ? undefined : composeAppealUrl(appeals.formUrl, reference);
    if (found === undefined) return { instrument: id, section: '', appealUrl };
    return { instrument: `${found.act}: ${found.title}`, section: found.section, appealUrl };
  }

  /**
   * Reads the pack again, as the list is compiled by the file as it is now.
   *
   * @throws {WartaError} `pack-invalid`; the earlier one stays.
   */
  refresh(): void {
    this.#kept = this.#read();
  }

  #read(): KeptPack {
    const { pack, sha256 } = parsePack(readPack(this.#file));
    if (sha256 === this.#kept?.sha256) return this.#kept;
    const categoryTitles = Object.fromEntries(pack.categories.map(({ id, title }) => [id, title]));
    const settings = { help: pack.help, operator: this.#operator, categoryTitles };
    return { sha256, pack, render: createNoticeRenderer(settings, this.#nowSeconds) };
  }
}

function readPack(file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (cause) {
    throw new WartaError('pack-invalid', `cannot read ${file}: check register.policyPack`, { cause });
  }
}

/** The form for one notice. */
function composeAppealUrl(formUrl: string, reference: string): string {
  const url = new URL(formUrl);
  url.searchParams.set('notice', reference);
  return url.href;
}
