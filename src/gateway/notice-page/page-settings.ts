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
