/** Median and worst of some measured times, in seconds; absent without any. */
export interface Summary {
  readonly count: number;
  readonly medianSeconds?: number;
  readonly worstSeconds?: number;
}

/** Sums up measured times. The median of an even number is the mean of the two in the middle. */
export function sumUp(seconds: readonly number[]): Summary {
  if (seconds.length === 0) return { count: 0 };
  const sorted = Float64Array.from(seconds).sort();
  const middle = sorted.length >>> 1;
  const medianSeconds = sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
  return { count: sorted.length, medianSeconds, worstSeconds: sorted.at(-1)! };
}
