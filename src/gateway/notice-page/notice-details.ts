/** What the page says about a notice. All of it is public; times are seconds since 1970 UTC. */
export interface NoticeDetails {
  readonly reference: string;
  readonly authority: string;
  /** The act or other instrument, as the policy pack writes it. */
  readonly instrument: string;
  readonly section: string;
  /** The id of a category of the policy pack. */
  readonly category: string;
  /** Whether names under this notice are never shown. */
  readonly sealed: boolean;
  readonly fromSeconds: number;
  /** Absent when the notice runs until it is revoked. */
  readonly endSeconds?: number;
  readonly reviewBySeconds?: number;
  /** `tel:` and `mailto:` URIs. */
  readonly contacts: readonly string[];
  readonly appealUrl?: string;
}

/** Help links by language tag, as policy packs have them. */
export type HelpLinks = Readonly<Record<string, readonly { readonly title: string; readonly url: string }[]>>;

/** Titles of categories: by the category's id, then by language tag. */
export type CategoryTitles = Readonly<Record<string, Readonly<Record<string, string>>>>;

/** What is the same for every notice that a gateway shows. Compared by identity: pass the same objects every time. */
export interface PageSettings {
  readonly help: HelpLinks;
  /** Who runs the gateway: the ISP, as its subscribers know it. */
  readonly operator: string;
  readonly categoryTitles: CategoryTitles;
}
