/** The servers compared, in the order of the table and of the JSON line. */
export const PEER_NAMES = ['warta', 'dnsdist', 'unbound', 'bind', 'powerdns', 'knot'] as const;
export type PeerName = (typeof PEER_NAMES)[number];

/** What a peer is set up with. All ports are on 127.0.0.1. */
export interface PeerSetup {
  /** An empty folder of the peer's own, removed after the bench. */
  folder: string;
  /** UDP (and TCP) port to serve. */
  port: number;
  /** Where to send what is not listed: an echo server that answers every query NOERROR, without records. */
  upstreamPort: number;
  /** Names `nameAt(0)` … `nameAt(ruleCount - 1)` are listed, each with all names below it. */
  ruleCount: number;
  /** How often warta looks for new statements; an hour unless the bench is about that. */
  rescanSeconds?: number;
  /** Writes the list as a response policy zone on first use and returns its path; the peers share one file. */
  policyZone(): string;
}

/** A program to start in the foreground. It gets SIGTERM at the end, then SIGKILL if it does not go. */
export interface PeerCommand {
  command: string;
  args: string[];
  environment?: Record<string, string>;
}

/** One server under comparison. A new one is a file with such a value, and a line in `PEERS` of `peers.ts`. */
export interface PeerDefinition {
  name: PeerName;
  /** How it is configured, in a few words, for the notes below the table. */
  description: string;
  /** The program whose absence means that the peer is not installed, and the Debian package that has it. */
  binary: string;
  debianPackage: string;
  /** Plainly forwards what it does not block, so that forwarding and added latency are figures of it. */
  forwards: boolean;
  /**
   * Keeps a compiled form of the list: right after its first correct answers it gets SIGTERM and is started again by
   * the same command, and both starts are timed. It must have saved that form by the time it ends.
   */
  restarts: boolean;
  /** Writes its configuration and list into `setup.folder` and returns how to start it. Not part of the load time. */
  prepare(setup: PeerSetup): PeerCommand | Promise<PeerCommand>;
}
