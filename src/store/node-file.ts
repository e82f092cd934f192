// `node.json`: who this node is, across restarts. Read before anything else of the data
// directory; replaced as one durable step.
import { utf8Decode, utf8Encode } from '#base/utf8.js';
import { type Done, type Files, FilesError } from '#env/files.js';

export const nodeFileName = 'node.json';
const formatVersion = 1;

/** What JSON can carry. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

export interface NodeFile {
  /** 128 random bits as 32 hexadecimal digits. */
  readonly nodeId: string;
  /** Empty while the node belongs to no cluster. */
  readonly clusterId: string;
  readonly role: 'core' | 'replicant';
  /** What the cluster room wants to remember; opaque here. */
  readonly formation: Json;
}

/** The file is there and cannot be used. The message is for the operator. */
export class NodeFileError extends Error {
  override readonly name = 'NodeFileError';
  readonly kind: 'version' | 'damaged';
  constructor(kind: 'version' | 'damaged', message: string) {
    super(message);
    this.kind = kind;
  }
}

/** Undefined in a fresh data directory. Throws {@link NodeFileError}. */
export function readNodeFile(files: Files): NodeFile | undefined {
  if (!files.exists(nodeFileName)) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(utf8Decode(files.read(nodeFileName)) ?? '');
  } catch (error) {
    if (error instanceof FilesError) throw error;
    throw damaged();
  }
  if (!isObject(value) || typeof value.format !== 'number') throw damaged();
  if (value.format !== formatVersion) {
    throw new NodeFileError('version', `${nodeFileName} has format version ${value.format}; this Starmesh reads version ${formatVersion}`);
  }
  const { nodeId, clusterId, role, formation } = value as { readonly [key: string]: Json | undefined };
  if (typeof nodeId !== 'string' || !/^[0-9a-f]{32}$/.test(nodeId) || typeof clusterId !== 'string' || (role !== 'core' && role !== 'replicant'))
    throw damaged();
  return { nodeId, clusterId, role, formation: formation ?? null };
}

export function writeNodeFile(files: Files, file: NodeFile, done: Done): void {
  const { nodeId, clusterId, role, formation } = file;
  const text = JSON.stringify({ format: formatVersion, nodeId, clusterId, role, formation }, undefined, 2);
  files.writeAtomic(nodeFileName, utf8Encode(`${text}\n`), done);
}

function isObject(value: unknown): value is { readonly [key: string]: unknown } {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function damaged(): NodeFileError {
  return new NodeFileError('damaged', `${nodeFileName} is damaged. Restore it, or delete the whole data directory to start as a new node`);
}
