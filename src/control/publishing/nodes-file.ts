import { WartaError } from '../../base/errors.ts';
import type { LogStorage } from '../../log/log-storage.ts';
import { type EnrolledNode, NODES_MAX_BYTES, NodeRegistry } from '../../register/receipt.ts';

/** Where enrolled nodes are listed in the register's tree. */
export const NODES_PATH = 'nodes.json';

/** nodes.json of a register's tree, parsed again only when its bytes changed: an enrolment counts at once. */
export class NodesFile {
  readonly #storage: LogStorage;
  #bytes: Uint8Array | undefined;
  #registry = NodeRegistry.parse('[]');

  constructor(storage: LogStorage) {
    this.#storage = storage;
  }

  /** @throws {WartaError} `config-invalid` when the file is broken. */
  async read(): Promise<NodeRegistry> {
    const bytes = await this.#storage.read(NODES_PATH);
    if (bytes === undefined) return NodeRegistry.parse('[]');
    if (this.#bytes !== undefined && Buffer.compare(bytes, this.#bytes) === 0) return this.#registry;
    if (bytes.length > NODES_MAX_BYTES) throw new WartaError('config-invalid', `nodes.json has ${bytes.length} bytes`);
    this.#registry = NodeRegistry.parse(Buffer.from(bytes).toString());
    this.#bytes = bytes;
    return this.#registry;
  }

  /** Enrols a node, or gives an enrolled one another key. */
  async enrol(node: EnrolledNode): Promise<void> {
    const before = await this.#storage.read(NODES_PATH);
    const registry = NodeRegistry.parse(before === undefined ? '[]' : Buffer.from(before).toString());
    await this.#storage.replace(NODES_PATH, Buffer.from(registry.enrol(node)), before);
  }

  /**
   * Remembers the file as it is and returns what replaces the whole list, unless someone else wrote it meanwhile. Nodes that
   * are not in the new list are out. Nothing is written when the list is the same.
   *
   * @throws {WartaError} the replacement: `log-busy` when the file was changed, `config-invalid` for a list that is none.
   */
  async prepareReplacement(): Promise<(nodes: readonly EnrolledNode[]) => Promise<void>> {
    const before = await this.#storage.read(NODES_PATH);
    return async (nodes) => {
      const text = `${JSON.stringify(nodes, ['licensee', 'node', 'publicKey'], 2)}\n`;
      NodeRegistry.parse(text);
      if (before !== undefined && Buffer.from(before).toString() === text) return;
      await this.#storage.replace(NODES_PATH, Buffer.from(text), before);
    };
  }
}
