// Resolves substitutions: tree in, values out. A substitution sees the final value of what it names,
// with one exception: inside the definition of that same key it sees the value assigned before
// (`path = ${path} "more"`). What is not in the text is looked up in the environment.
import { expansionMax, resolveDepthMax } from './bounds.js';
import { HoconError, type Position } from './errors.js';
import {
  type ConcatNode,
  isIndexed,
  type ListValue,
  type Node,
  type ObjectNode,
  type ObjectValue,
  type OverrideNode,
  type ResolvedNode,
  type ScalarNode,
  type SubstitutionNode,
  type Value,
} from './nodes.js';

/** An environment variable by its whole name. */
export type Lookup = (name: string) => string | undefined;

type Unresolved = Exclude<Node, ScalarNode | ResolvedNode>;

/** Throws {@link HoconError} for unknown, circular or mistyped references. */
export function resolve(root: ObjectNode, environment: Lookup): ObjectValue {
  const resolver = new Resolver(root, environment);
  const value = resolver.value(root);
  return value?.kind === 'object' ? value : { kind: 'object', fields: new Map(), at: root.at };
}

class Resolver {
  readonly #root: ObjectNode;
  readonly #environment: Lookup;
  readonly #known = new Map<Node, Value | undefined>();
  readonly #open = new Set<Node>();
  // For `override` nodes stepped into by name: the override of their children.
  readonly #children = new Map<Node, Map<string, Node | undefined>>();
  #budget = expansionMax;

  constructor(root: ObjectNode, environment: Lookup) {
    this.#root = root;
    this.#environment = environment;
  }

  /** undefined: only optional substitutions stood there, and none was found. */
  value(node: Node): Value | undefined {
    if (node.kind === 'scalar') return node;
    if (node.kind === 'resolved') return node.value;
    if (this.#known.has(node)) return this.#known.get(node);
    if (this.#open.has(node)) return this.#circular(node);
    if (this.#open.size > resolveDepthMax) throw new HoconError(node.at, 'values that lead to each other too deeply');
    this.#open.add(node);
    const value = this.#fresh(node);
    this.#open.delete(node);
    this.#known.set(node, value);
    return value;
  }

  #fresh(node: Unresolved): Value | undefined {
    switch (node.kind) {
      case 'object':
        return this.#object(node);
      case 'list':
        return { kind: 'list', items: this.#items(node.items), at: node.at };
      case 'append':
        return { kind: 'list', items: this.#items(node.items), at: node.at };
      case 'substitution':
        return this.#substitution(node);
      case 'concat':
        return this.#concat(node);
      case 'override':
        return this.#override(node);
    }
  }

  // A key that refers to itself means what it held before; anything else going round is an error.
  #circular(node: Unresolved): Value | undefined {
    if (node.kind === 'override') return this.value(node.below);
    if (node.kind === 'substitution') throw new HoconError(node.at, `\${${node.path.join('.')}} leads back to itself`);
    throw new HoconError(node.at, 'this value contains itself');
  }

  #object(node: ObjectNode): Value {
    const fields = new Map<string, Value>();
    for (const [key, child] of node.fields) {
      const value = this.value(child);
      if (value !== undefined) fields.set(key, value);
    }
    return { kind: 'object', fields, at: node.at };
  }

  #items(nodes: readonly Node[]): Value[] {
    const items: Value[] = [];
    for (const node of nodes) {
      const value = this.value(node);
      if (value !== undefined) items.push(value);
    }
    return items;
  }

  #substitution(node: SubstitutionNode): Value | undefined {
    const target = this.#find(this.#root, node.path);
    const value = target === undefined ? undefined : this.value(target);
    if (value !== undefined) return value;
    const name = node.path.join('.');
    const text = this.#environment(name);
    if (text !== undefined) return { kind: 'scalar', value: text, text, quoted: false, at: node.at };
    if (node.optional) return undefined;
    throw new HoconError(node.at, `\${${name}} is neither a setting nor an environment variable; \${?${name}} would leave it out`);
  }

  #find(root: Node, path: readonly string[]): Node | undefined {
    let node: Node | undefined = root;
    for (const key of path) {
      node = this.#child(node, key);
      if (node === undefined) return undefined;
    }
    return node;
  }

  // The child without resolving its neighbours: `a { x = 1, y = ${a.x} }` is no circle.
  #child(node: Node, key: string): Node | undefined {
    if (node.kind === 'object') return node.fields.get(key);
    if (node.kind === 'override') return this.#overriddenChild(node, key);
    if (node.kind === 'scalar' || node.kind === 'list' || node.kind === 'append') return undefined;
    const value = this.value(node);
    const child = value?.kind === 'object' ? value.fields.get(key) : undefined;
    return child === undefined ? undefined : { kind: 'resolved', value: child, at: child.at };
  }

  #overriddenChild(node: OverrideNode, key: string): Node | undefined {
    let children = this.#children.get(node);
    if (children === undefined) {
      children = new Map();
      this.#children.set(node, children);
    }
    if (children.has(key)) return children.get(key);
    const above = this.#child(node.above, key);
    const below = node.above.kind === 'list' || node.above.kind === 'append' ? undefined : this.#child(node.below, key);
    const both = above !== undefined && below !== undefined;
    const child: Node | undefined =
      both && above.kind !== 'scalar' ? { kind: 'override', below, above, depth: node.depth, at: above.at } : (above ?? below);
    children.set(key, child);
    return child;
  }

  #override(node: OverrideNode): Value | undefined {
    const above = this.value(node.above);
    if (above === undefined) return this.value(node.below);
    if (node.above.kind === 'append' && above.kind === 'list') {
      const below = this.value(node.below);
      if (below === undefined) return above;
      if (below.kind !== 'list') throw new HoconError(node.at, '+= needs a list');
      return this.#joinLists(below, above);
    }
    if (above.kind !== 'object') return above;
    const below = this.value(node.below);
    if (below?.kind === 'object') return this.#mergeValues(below, above);
    if (below?.kind === 'list' && node.above.kind === 'object' && isIndexed(node.above)) return this.#mergeIndexed(below, above);
    return above;
  }

  #concat(node: ConcatNode): Value | undefined {
    let result: Value | undefined;
    for (const [i, part] of node.parts.entries()) {
      const value = this.value(part);
      if (value === undefined) continue;
      result = result === undefined ? value : this.#joinTwo(node, result, node.gaps[i] ?? '', value);
    }
    return result;
  }

  #joinTwo(node: ConcatNode, left: Value, gap: string, right: Value): Value {
    if (left.kind === 'object' && right.kind === 'object') return this.#mergeValues(left, right);
    if (left.kind === 'list' && right.kind === 'list') return this.#joinLists(left, right);
    if (left.kind !== 'scalar' || right.kind !== 'scalar')
      throw new HoconError(right.at, `a ${right.kind} cannot follow a ${left.kind} in one value`);
    const text = left.text + gap + right.text;
    this.#spend(1 + text.length / 64, node.at);
    return { kind: 'scalar', value: text, text, quoted: false, at: node.at };
  }

  #joinLists(left: ListValue, right: ListValue): ListValue {
    this.#spend(left.items.length + right.items.length, right.at);
    return { kind: 'list', items: [...left.items, ...right.items], at: left.at };
  }

  #mergeValues(below: ObjectValue, above: ObjectValue): ObjectValue {
    this.#spend(below.fields.size + above.fields.size, above.at);
    const fields = new Map(below.fields);
    for (const [key, value] of above.fields) {
      const older = fields.get(key);
      fields.set(key, older?.kind === 'object' && value.kind === 'object' ? this.#mergeValues(older, value) : value);
    }
    return { kind: 'object', fields, at: above.at };
  }

  #mergeIndexed(below: ListValue, above: ObjectValue): ListValue {
    this.#spend(below.items.length + above.fields.size, above.at);
    const items = [...below.items];
    for (const [key, value] of [...above.fields].sort((a, b) => Number(a[0]) - Number(b[0]))) {
      const index = Number(key);
      if (index > items.length + 1) throw new HoconError(value.at, `index ${index} of a list of ${items.length}: indexes count from 1, without gaps`);
      const older = items[index - 1];
      items[index - 1] = older?.kind === 'object' && value.kind === 'object' ? this.#mergeValues(older, value) : value;
    }
    return { kind: 'list', items, at: below.at };
  }

  #spend(amount: number, at: Position): void {
    this.#budget -= amount;
    if (this.#budget < 0) throw new HoconError(at, 'the substitutions unfold into too much');
  }
}
