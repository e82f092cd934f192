// The tree of a configuration text before substitutions are resolved, and how later assignments
// meet earlier ones. `resolve.ts` turns it into values. Keys live in Maps, so `__proto__` is a key like any other.
import { depthMax } from './bounds.js';
import { HoconError, type Position } from './errors.js';

export type Scalar = string | number | boolean | null;

export interface ScalarNode {
  readonly kind: 'scalar';
  readonly value: Scalar;
  /** As written, without quotes: `0x1F` and `1.50` stay what the user wrote. */
  readonly text: string;
  readonly quoted: boolean;
  readonly at: Position;
}

export interface ListNode {
  readonly kind: 'list';
  readonly items: Node[];
  readonly at: Position;
}

export interface ObjectNode {
  readonly kind: 'object';
  readonly fields: Map<string, Node>;
  readonly at: Position;
}

/** `${path}` and `${?path}`. */
export interface SubstitutionNode {
  readonly kind: 'substitution';
  readonly path: readonly string[];
  readonly optional: boolean;
  readonly at: Position;
}

/** Values side by side on one line. `gaps[i]` is the white space before part i. */
export interface ConcatNode {
  readonly kind: 'concat';
  readonly parts: readonly Node[];
  readonly gaps: readonly string[];
  readonly at: Position;
}

/** `key += item`, once or more often. */
export interface AppendNode {
  readonly kind: 'append';
  readonly items: Node[];
  readonly at: Position;
}

/** Two assignments of the same key that cannot be merged before substitutions are known. */
export interface OverrideNode {
  readonly kind: 'override';
  readonly below: Node;
  readonly above: Node;
  /** How many overrides stand below each other here. */
  readonly depth: number;
  readonly at: Position;
}

/** A part of a value that is resolved already; only `resolve.ts` makes these. */
export interface ResolvedNode {
  readonly kind: 'resolved';
  readonly value: Value;
  readonly at: Position;
}

export type Node = ScalarNode | ListNode | ObjectNode | SubstitutionNode | ConcatNode | AppendNode | OverrideNode | ResolvedNode;

export interface ListValue {
  readonly kind: 'list';
  readonly items: readonly Value[];
  readonly at: Position;
}

export interface ObjectValue {
  readonly kind: 'object';
  readonly fields: ReadonlyMap<string, Value>;
  readonly at: Position;
}

/** A setting with the place it was written at. */
export type Value = ScalarNode | ListValue | ObjectValue;

/** What a key holds after `above` was assigned over `below`: objects merge, everything else replaces. May change `below`. */
export function merge(below: Node | undefined, above: Node): Node {
  if (below === undefined) return above;
  if (above.kind === 'scalar') return above;
  if (above.kind === 'object') {
    if (below.kind === 'object') return mergeObjects(below, above);
    if (below.kind === 'list' && isIndexed(above)) return mergeIntoList(below, above);
    if (below.kind === 'scalar' || below.kind === 'list') return above;
  }
  if (above.kind === 'append' && (below.kind === 'list' || below.kind === 'append')) {
    for (const item of above.items) below.items.push(item);
    return below;
  }
  if (above.kind === 'list' && !refers(above)) return above;
  const depth = below.kind === 'override' ? below.depth + 1 : 1;
  if (depth > depthMax) throw new HoconError(above.at, `more than ${depthMax} assignments of one key that refer to other keys`);
  return { kind: 'override', below, above, depth, at: above.at };
}

/** Fields of `above` over those of `below`, in the order of first appearance. Changes `below`. */
export function mergeObjects(below: ObjectNode, above: ObjectNode): ObjectNode {
  for (const [key, value] of above.fields) below.fields.set(key, merge(below.fields.get(key), value));
  return below;
}

/** True when every key is a 1-based index: `authentication.1.enable = false`. */
export function isIndexed(object: ObjectNode): boolean {
  if (object.fields.size === 0) return false;
  for (const key of object.fields.keys()) if (!/^[1-9][0-9]{0,5}$/.test(key)) return false;
  return true;
}

function mergeIntoList(below: ListNode, above: ObjectNode): ListNode {
  const { items } = below;
  const indexes = [...above.fields.keys()].map(Number).sort((a, b) => a - b);
  for (const index of indexes) {
    const value = above.fields.get(String(index));
    if (value === undefined) continue;
    if (index > items.length + 1) throw new HoconError(value.at, `index ${index} of a list of ${items.length}: indexes count from 1, without gaps`);
    items[index - 1] = merge(items[index - 1], value);
  }
  return below;
}

// Whether a substitution stands in a list: then `a = ${a} [x]` and `a = [${a}]` need the older value.
function refers(node: Node): boolean {
  if (node.kind === 'list') return node.items.some(refers);
  if (node.kind === 'object') return [...node.fields.values()].some(refers);
  return node.kind !== 'scalar';
}
