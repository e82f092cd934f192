// Reads a configuration text with everything it includes. The way in for `config` and for tests;
// the file system comes in as a function.
import { dirname, isAbsolute, join } from 'node:path';
import { includeDepthMax, includedFilesMax } from './bounds.js';
import { HoconError, type Position } from './errors.js';
import { merge, type Node, type ObjectNode, type ObjectValue } from './nodes.js';
import { parseObject, parseValue } from './parse.js';
import { type Lookup, resolve } from './resolve.js';

/** The text of a file, or undefined when there is none. Errors other than absence are thrown as they are. */
export type ReadText = (path: string) => string | undefined;

/** A setting laid over the files: `path` as keys, `text` parsed as a HOCON value. */
export interface Overlay {
  readonly path: readonly string[];
  readonly text: string;
  /** Shown in place of the file name: `environment STARMESH_NODE__NAME`. */
  readonly source: string;
}

export interface HoconInput {
  /** Name of the text in messages; relative includes are looked up beside it. */
  readonly file: string;
  readonly text: string;
  readonly readText: ReadText;
  readonly environment: Lookup;
  /** Later ones win. */
  readonly overlays?: readonly Overlay[];
}

/** The settings with their positions. Throws {@link HoconError} and nothing else (but what `readText` throws). */
export function readHocon(input: HoconInput): ObjectValue {
  const includes = new Includes(input.readText);
  const root = parseObject(input.file, input.text, includes.of(input.file, 0));
  for (const overlay of input.overlays ?? []) lay(root, overlay);
  return resolve(root, input.environment);
}

function lay(root: ObjectNode, overlay: Overlay): void {
  const at: Position = { file: overlay.source, line: 1, column: 1 };
  let node = parseValue(overlay.source, overlay.text);
  for (const key of overlay.path.slice(1).reverse()) node = { kind: 'object', fields: new Map<string, Node>([[key, node]]), at };
  const first = overlay.path[0] ?? '';
  root.fields.set(first, merge(root.fields.get(first), node));
}

class Includes {
  readonly #readText: ReadText;
  #files = 0;

  constructor(readText: ReadText) {
    this.#readText = readText;
  }

  of(from: string, depth: number): (name: string, required: boolean, at: Position) => ObjectNode | undefined {
    return (name, required, at) => {
      if (depth >= includeDepthMax) throw new HoconError(at, `more than ${includeDepthMax} files that include each other`);
      if (++this.#files > includedFilesMax) throw new HoconError(at, `more than ${includedFilesMax} included files`);
      const path = isAbsolute(name) ? name : join(dirname(from), name);
      const text = this.#readText(path);
      if (text !== undefined) return parseObject(path, text, this.of(path, depth + 1));
      if (required) throw new HoconError(at, `there is no file ${path}`);
      return undefined;
    };
  }
}
