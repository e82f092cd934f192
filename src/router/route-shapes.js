// Which shapes of topic filters exist: a shape says of each level whether it is literal (`L`), `+` or
// `#`. Real fleets use a handful, so a topic name is matched by one exact lookup per shape
// (route-match.ts). The counts come from the change feed and from scans of the table (route-sync.ts).
//
// Invariant: a shape with a row in the table is always listed once `complete` is true. The feed may
// repeat a put, so counts may err; therefore a shape is only dropped by a recount that saw no row of
// it, never by subtraction. Beyond `shapesMax` shapes everything is `overflowing`, and the matcher
// skip-scans instead.
import { byteString } from '#base/bytes.js';
import { endOfLevels, levelEscape, levelSeparator, nodeIdLength } from './route-key.js';
const plus = 0x2b;
const hash = 0x23;
/** Shape of a route's key, its end mark at `end`. */
export function shapePattern(key, end = key.length - nodeIdLength - 1) {
    let pattern = '';
    let start = 0;
    for (let i = 0; i <= end; i++) {
        const c = i === end ? endOfLevels : key[i];
        if (c === levelEscape)
            i++;
        else if (c === levelSeparator || i === end) {
            const first = i - start === 1 ? key[start] : undefined;
            pattern += first === plus ? '+' : first === hash ? '#' : 'L';
            start = i + 1;
        }
    }
    return pattern;
}
class ShapeCount {
    shape;
    /** Rows per node (its 16 bytes as a string). */
    perNode = new Map();
    total = 0;
    constructor(pattern) {
        const multiLevel = pattern.endsWith('#');
        this.shape = { pattern, multiLevel, levels: multiLevel ? pattern.length - 1 : pattern.length };
    }
    add(node, n) {
        this.total += n;
        this.perNode.set(node, (this.perNode.get(node) ?? 0) + n);
    }
}
class Counts {
    byPattern = new Map();
    /** Rows of shapes beyond the bound. */
    rest = new ShapeCount('');
    nodes = new Map();
    total = 0;
    #shapesMax;
    constructor(shapesMax) {
        this.#shapesMax = shapesMax;
    }
    add(key) {
        const pattern = shapePattern(key);
        let count = this.byPattern.get(pattern);
        if (count === undefined) {
            if (this.byPattern.size >= this.#shapesMax)
                count = this.rest;
            else {
                count = new ShapeCount(pattern);
                this.byPattern.set(pattern, count);
            }
        }
        this.#count(count, nodeOf(key), 1);
    }
    /** False when the counts have become doubtful. */
    remove(key) {
        const count = this.byPattern.get(shapePattern(key)) ?? this.rest;
        this.#count(count, nodeOf(key), -1);
        return count.total > 0;
    }
    purge(node) {
        let sure = true;
        for (const count of [...this.byPattern.values(), this.rest]) {
            const n = count.perNode.get(node);
            if (n === undefined)
                continue;
            count.perNode.delete(node);
            count.total -= n;
            this.total -= n;
            if (count.total <= 0)
                sure = false;
        }
        this.nodes.delete(node);
        return sure;
    }
    #count(count, node, n) {
        count.add(node, n);
        this.total += n;
        this.nodes.set(node, (this.nodes.get(node) ?? 0) + n);
    }
}
function nodeOf(key) {
    return byteString(key.subarray(key.length - nodeIdLength));
}
export class RouteShapes {
    #shapesMax;
    #counts;
    #recount;
    #list;
    #complete = false;
    #doubtful = false;
    constructor(shapesMax = 64) {
        this.#shapesMax = shapesMax;
        this.#counts = new Counts(shapesMax);
    }
    /** False until the first count after a reset has finished: the list may miss shapes. */
    get complete() {
        return this.#complete;
    }
    /** More shapes exist than are kept. */
    get overflowing() {
        return this.#counts.rest.perNode.size > 0;
    }
    /** A recount would tell whether a shape is gone. */
    get doubtful() {
        return this.#doubtful;
    }
    get counting() {
        return this.#recount !== undefined;
    }
    /** Rows, own ones included; exact after a recount, otherwise nearly so. */
    get total() {
        return Math.max(0, this.#counts.total);
    }
    list() {
        this.#list ??= [...this.#counts.byPattern.values()].map((c) => c.shape);
        return this.#list;
    }
    /** Nodes that have routes, each as a string of its 16 bytes; a node whose last route went may still be named. */
    nodes() {
        return this.#counts.nodes.keys();
    }
    get nodeCount() {
        return this.#counts.nodes.size;
    }
    put(key) {
        const shapes = this.#counts.byPattern.size;
        this.#counts.add(key);
        if (this.#counts.byPattern.size !== shapes)
            this.#list = undefined;
        this.#recount?.add(key);
    }
    /** During a count the row may have been gone before the scan passed, so that nothing is taken off the new counts. */
    remove(key) {
        if (!this.#counts.remove(key))
            this.#doubtful = true;
    }
    /** All rows of the node (16 bytes as a string) are gone. */
    purge(node) {
        if (!this.#counts.purge(node))
            this.#doubtful = true;
        this.#recount?.purge(node);
    }
    /** The table was replaced: nothing known before holds. A count must follow. */
    reset() {
        this.#complete = false;
        this.#counts = new Counts(this.#shapesMax);
        this.#list = undefined;
        this.beginCount();
    }
    beginCount() {
        this.#recount = new Counts(this.#shapesMax);
        this.#doubtful = false;
    }
    /** One row that the count's scan saw. */
    counted(key) {
        this.#recount?.add(key);
    }
    /** The scan has seen every row: its counts replace the old ones. */
    finishCount() {
        if (this.#recount === undefined)
            return;
        this.#counts = this.#recount;
        this.#recount = undefined;
        this.#list = undefined;
        this.#complete = true;
    }
}
//# sourceMappingURL=route-shapes.js.map