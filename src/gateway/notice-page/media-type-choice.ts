import { parseQualityList } from '../../pages/quality-list.ts';

/** What the page is offered as, the usual first. */
export const MEDIA_TYPES = ['text/html', 'text/plain', 'application/json', 'application/problem+json'] as const;

/** A form of the page. */
export type MediaType = (typeof MEDIA_TYPES)[number];

/** How closely a media range names a type: 2 exactly, 1 by its first half, 0 as `*` + `/*`, -1 not at all. */
function closeness(range: string, type: MediaType): number {
  if (range === type) return 2;
  if (range === '*/*') return 0;
  return range.endsWith('/*') && type.startsWith(range.slice(0, -1)) ? 1 : -1;
}

/**
 * Returns the form that Accept asks for (RFC 9110 §12.5.1): the most specific range decides about each type, the highest
 * quality wins. Among equals a type that was named beats one that a wildcard lets pass, then the header's order decides:
 * `application/json, text/plain, * /*` is a program that wants JSON. Whoever asks for nothing that there is gets HTML: a
 * 406 would hide why the page is blocked.
 */
export function chooseMediaType(accept: string | undefined): MediaType {
  const ranges = parseQualityList(accept);
  const offers = MEDIA_TYPES.map((type) => {
    const [best] = ranges
      .map((range) => ({ ...range, type, closeness: closeness(range.value, type) }))
      .filter((match) => match.closeness >= 0)
      .sort((one, other) => other.closeness - one.closeness);
    return best;
  }).filter((offer) => offer !== undefined && offer.quality > 0);
  offers.sort(
    (one, other) =>
      other!.quality - one!.quality || other!.closeness - one!.closeness || one!.position - other!.position,
  );
  return offers[0]?.type ?? MEDIA_TYPES[0];
}
