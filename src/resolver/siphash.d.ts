/** The part of `siphash` that is used: the package ships no types. */
declare module 'siphash' {
  const SipHash: {
    /** SipHash-2-4 of `message` under a key of four little-endian words. */
    hash(key: Uint32Array, message: Uint8Array): { h: number; l: number };
  };
  export default SipHash;
}
