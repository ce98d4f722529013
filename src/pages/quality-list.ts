/** One member of a header such as Accept: its value in lower case, its quality, and where it stood. */
export interface QualityItem {
  readonly value: string;
  /** 0 (refused) to 1. */
  readonly quality: number;
  readonly position: number;
}

/** What is read of a header. Browsers send less than a tenth; the rest would be work that a stranger orders. */
const MAX_HEADER_CHARACTERS = 1000;

/** A quality value (RFC 9110 §12.4.2). */
const QUALITY = /^(?:0(?:\.\d{0,3})?|1(?:\.0{0,3})?)$/;

/**
 * Returns the members of a header with quality values (RFC 9110 §12.5), best first and otherwise in their order. Parameters
 * other than `q` are left out; a member whose `q` is malformed is ignored, since nobody can say what it asks for.
 */
export function parseQualityList(header: string | undefined): QualityItem[] {
  if (header === undefined) return [];
  const items: QualityItem[] = [];
  for (const [position, member] of header.slice(0, MAX_HEADER_CHARACTERS).toLowerCase().split(',').entries()) {
    const [value, ...parameters] = member.split(';').map((part) => part.trim());
    const weight = parameters.find((parameter) => /^q\s*=/.test(parameter));
    const quality = weight === undefined ? '1' : weight.slice(weight.indexOf('=') + 1).trim();
    if (value && QUALITY.test(quality)) items.push({ value, quality: Number(quality), position });
  }
  return items.sort((one, other) => other.quality - one.quality);
}
