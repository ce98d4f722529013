/** A figure with what exactly it counts: it is printed wherever the figure is. */
export interface FigureDefinition {
  readonly name: keyof Figures;
  readonly unit: 'notices' | 'names' | 'pages' | 'appeals' | 'days' | 'hours' | 'items';
  readonly definition: string;
}

/** What is counted for one group. `medianDays` is there only when an appeal was decided. */
export interface Figures {
  issued: number;
  entries: number;
  pages: number;
  httpOnlyPages: number;
  inForce: number;
  entriesInForce: number;
  expired: number;
  revoked: number;
  superseded: number;
  stayed: number;
  appealsLodged: number;
  appealsDecided: number;
  medianDays?: number;
  overblocks: number;
  overblockHours: number;
  takedownsRequested: number;
  takedownsRemoved: number;
}

/** Every figure, in the order they are shown. Months and days are those of UTC. */
export const FIGURES: readonly FigureDefinition[] = [
  { name: 'issued', unit: 'notices', definition: 'Open notices that the register took in the period.' },
  { name: 'entries', unit: 'names', definition: 'Entries (names, subtrees, pages) of those notices.' },
  { name: 'pages', unit: 'pages', definition: 'Those of the entries that are for one page, not for a whole name.' },
  {
    name: 'httpOnlyPages',
    unit: 'pages',
    definition:
      'Those of the pages that are blocked on HTTP alone: on HTTPS no page can be told apart, and their notices do not close HTTPS to the hosts.',
  },
  {
    name: 'inForce',
    unit: 'notices',
    definition:
      'Open notices in force at the end of the period, or now if it has not ended; those stayed then are not counted.',
  },
  {
    name: 'entriesInForce',
    unit: 'names',
    definition: 'Entries in force then, without those revoked, stayed or expired one by one.',
  },
  {
    name: 'expired',
    unit: 'notices',
    definition: 'Open notices that ended in the period by their own term, or one shortened by a variation.',
  },
  { name: 'revoked', unit: 'notices', definition: 'Open notices that were revoked as a whole in the period.' },
  {
    name: 'superseded',
    unit: 'notices',
    definition: 'Open notices that another notice took the place of in the period.',
  },
  {
    name: 'stayed',
    unit: 'notices',
    definition: 'Open notices for which a stay as a whole, or a halt of their programme, began in the period.',
  },
  { name: 'appealsLodged', unit: 'appeals', definition: 'Appeals against open notices filed in the period.' },
  { name: 'appealsDecided', unit: 'appeals', definition: 'Appeals against open notices decided in the period.' },
  {
    name: 'medianDays',
    unit: 'days',
    definition: 'Median time from filing to decision of the appeals decided in the period.',
  },
  {
    name: 'overblocks',
    unit: 'appeals',
    definition: 'Appeals that overturned a block, by when they were decided: what was blocked should not have been.',
  },
  {
    name: 'overblockHours',
    unit: 'hours',
    definition:
      'Time that what those appeals were about was in force, until the register took the release, or until now; stays are left out.',
  },
  {
    name: 'takedownsRequested',
    unit: 'items',
    definition: 'Items that platforms were asked in the period to take down at the source. These are no blocks.',
  },
  {
    name: 'takedownsRemoved',
    unit: 'items',
    definition: 'Items that platforms took down at the source in the period. These are no blocks.',
  },
];

/** What the totals of sealed notices are. */
export const SEALED_DEFINITION =
  'Sealed notices that the register took in the month, whatever their category, authority or agency. They are in no other figure.';

/** Figures of which nothing was counted yet. */
export function createFigures(): Figures {
  return {
    ...{
      issued: 0,
      entries: 0,
      pages: 0,
      httpOnlyPages: 0,
      inForce: 0,
      entriesInForce: 0,
      expired: 0,
      revoked: 0,
      superseded: 0,
      stayed: 0,
    },
    ...{ appealsLodged: 0, appealsDecided: 0, overblocks: 0, overblockHours: 0 },
    ...{ takedownsRequested: 0, takedownsRemoved: 0 },
  };
}
