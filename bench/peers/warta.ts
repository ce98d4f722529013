import type { PeerDefinition } from './peer.ts';

/** Warta's own resolver with one data-plane worker, fed from signed statements; the second start takes the saved table. */
export const warta: PeerDefinition = {
  name: 'warta',
  description: 'signed statements, one data-plane worker',
  binary: process.execPath,
  debianPackage: 'nodejs',
  forwards: true,
  restarts: true,
  prepare() {
    throw new Error('the resolver is not connected to this bench yet');
  },
};
