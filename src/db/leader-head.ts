// The state of a shard after its whole log, as its leader sees it: applied tables, and above them
// an overlay of everything that is in the log and not applied yet. Commands and transactions are
// judged here, so that what is logged is resolved rows. Made when a leader has applied the no-op
// of its own term (then the overlay is empty and true), thrown away with the leadership.
import { assert } from '#base/assert.js';
import { ByteReader } from '#base/byte-reader.js';
import type { ByteWriter } from '#base/byte-writer.js';
import { copyBytes, emptyBytes, equalBytes } from '#base/bytes.js';
import { Deque } from '#base/deque.js';
import { utf8Encode } from '#base/utf8.js';
import { TablesError } from '#env/tables.js';
import { CommandRefused, type Row, type ShardSchema, type Table } from './api.js';
import type { DbBounds } from './bounds.js';
import { ConflictWindow, cellId } from './conflict-window.js';
import { type EntryOp, type Status, status, writePlainOp } from './entry-codec.js';
import { HeadContext } from './head-context.js';
import { LiveSet } from './live-set.js';
import { rangeThrough, seekBy } from './overlay.js';
import { decodeCommand, decodeTransaction, OpsCursor, ownerSelf, type Proposal, type ProposedOp, proposalKind, readOps } from './proposal-codec.js';
import type { ShardState } from './shard-state.js';
import { keyInRange, tableKeyBytesMax } from './stored-row.js';
import type { Outcome, Streams } from './streams.js';

interface Cell {
  readonly tableId: number;
  readonly key: Uint8Array;
  readonly value: Uint8Array | undefined;
  readonly owner: number;
  readonly index: number;
}

/** What a judged proposal becomes in the log. */
export interface Judged {
  readonly status: Status;
  readonly reply: Uint8Array;
  /** Undefined: those of the proposal as they are; `writePlain` writes them. */
  readonly ops: readonly EntryOp[] | undefined;
}

const plainDone: Judged = { status: status.done, reply: emptyBytes, ops: undefined };

/** Writes in the log that no judgement has had to look at yet. */
interface Unread {
  readonly index: number;
  readonly body: Uint8Array;
}

export class LeaderHead {
  readonly live: LiveSet;
  readonly streams: Streams;
  readonly #state: ShardState;
  readonly #schema: ShardSchema;
  readonly #bounds: DbBounds;
  readonly #cells: Map<string, Cell> = new Map();
  /** Newer than all cells: becomes cells when something is read through them, which plain writes never need. */
  readonly #unread: Deque<Unread> = new Deque();
  readonly #ops: OpsCursor = new OpsCursor();
  readonly #window: ConflictWindow;
  readonly #owned: (tableId: number) => boolean;
  stampMs: number;
  /** The tables could not be read: nothing may be logged that was judged here any more. */
  broken = false;

  /** `seed`: a random number, for the hashes of keys. */
  constructor(state: ShardState, bounds: DbBounds, seed: number) {
    this.#state = state;
    this.#schema = state.schema;
    this.#bounds = bounds;
    const system = state.cursor.system;
    assert(system.position.appliedIndex === state.appliedIndex, 'head is made from applied tables');
    this.live = new LiveSet(system.live);
    this.streams = system.streams.clone();
    this.stampMs = system.position.stampMs;
    this.#window = new ConflictWindow(state.appliedIndex, bounds.conflictWindowKeys, seed);
    this.#owned = (id) => this.#state.table(id)?.owned === true;
  }

  /** Rows up to `index` are in the tables now. */
  applied(index: number): void {
    for (const [id, cell] of this.#cells) {
      if (cell.index > index) break;
      this.#cells.delete(id);
    }
    for (let u = this.#unread.peek(); u !== undefined && u.index <= index; u = this.#unread.peek()) this.#unread.shift();
  }

  /** Every write that is not applied is a cell now. */
  #settle(): void {
    for (let u = this.#unread.shift(); u !== undefined; u = this.#unread.shift()) {
      for (const op of readOps(new ByteReader(u.body))) this.#cell(op, u.index);
    }
  }

  /** Judges one proposal as the n-th transaction of the entry at `index`; its writes count from now on. */
  judge(proposal: Proposal, incarnation: number, index: number, n: number): Judged {
    try {
      switch (proposal.kind) {
        case proposalKind.void:
          return { status: status.void, reply: emptyBytes, ops: [] };
        case proposalKind.ops:
          if (this.#isPlain(proposal.body)) return plainDone;
          return this.#plain(readOps(new ByteReader(proposal.body)), emptyBytes, incarnation, index);
        case proposalKind.transaction: {
          const t = decodeTransaction(proposal.body);
          if (!this.#window.holds(t.reads, this.#owned)) return { status: status.conflict, reply: emptyBytes, ops: [] };
          return this.#plain(t.ops, t.reply, incarnation, index);
        }
        case proposalKind.command:
          return this.#command(proposal.body, incarnation, index, n);
      }
    } catch (error) {
      // What was noted so far belongs to nothing.
      if (error instanceof TablesError) this.broken = true;
      // Malformed or refused: an outcome without rows. What the command had buffered is dropped with it.
      return { status: status.refused, reply: utf8Encode(error instanceof Error ? error.message : String(error)), ops: [] };
    }
  }

  /** Nothing to resolve and nothing to refuse: nobody's rows, in tables without owners. */
  #isPlain(body: Uint8Array): boolean {
    const ops = this.#ops;
    ops.begin(body);
    while (ops.next()) {
      const table = this.#state.table(ops.tableId);
      if (table === undefined || table.owned === true || ops.owner !== 0) return false;
      if (ops.keyTo - ops.keyFrom > tableKeyBytesMax || ops.valueBytes > this.#bounds.rowBytesMax) return false;
    }
    return true;
  }

  /** The operations of a proposal that was judged to need no resolving; they count from now on. */
  writePlain(w: ByteWriter, body: Uint8Array, index: number): void {
    const op = this.#ops;
    op.begin(body);
    while (op.next()) {
      writePlainOp(w, op);
      this.#window.note(index, op.tableId, body, op.keyFrom, op.keyTo);
    }
    this.#unread.push({ index, body });
  }

  /** How many operations such a proposal has. */
  plainCount(body: Uint8Array): number {
    this.#ops.begin(body);
    return this.#ops.count;
  }

  #plain(proposed: readonly ProposedOp[], reply: Uint8Array, incarnation: number, index: number): Judged {
    const ops = proposed.map((op) =>
      op.kind === 'put' && op.owner === ownerSelf ? { kind: op.kind, tableId: op.tableId, key: op.key, owner: incarnation, value: op.value } : op,
    );
    for (const op of ops) this.#check(op);
    this.#settle();
    const resolved: EntryOp[] = [];
    for (const op of ops) {
      const table = this.#state.table(op.tableId) as Table;
      const previousOwner = table.owned === true ? (this.#any(op.tableId, op.key)?.owner ?? 0) : 0;
      const { tableId, key } = op;
      const full: EntryOp =
        op.kind === 'put'
          ? { kind: 'put', tableId, key, owner: op.owner, previousOwner, value: op.value }
          : { kind: 'delete', tableId, key, previousOwner };
      resolved.push(full);
      this.#note(full, index);
    }
    return { status: status.done, reply: copyBytes(reply), ops: resolved };
  }

  #check(op: ProposedOp): void {
    const table = this.#state.table(op.tableId);
    if (table === undefined) throw new CommandRefused(`shard ${this.#schema.name} has no table ${op.tableId}`);
    if (op.key.length > tableKeyBytesMax) throw new CommandRefused(`a key of ${op.key.length} bytes is longer than ${tableKeyBytesMax}`);
    if (op.kind === 'delete') return;
    if (op.value.length > this.#bounds.rowBytesMax)
      throw new CommandRefused(`a value of ${op.value.length} bytes is longer than ${this.#bounds.rowBytesMax}`);
    if (op.owner !== 0 && table.owned !== true) throw new CommandRefused(`rows of table ${table.name} cannot be owned`);
    if (op.owner !== 0 && !this.live.has(op.owner)) throw new CommandRefused(`incarnation ${op.owner} is not live`);
  }

  #command(bytes: Uint8Array, incarnation: number, index: number, n: number): Judged {
    const { name, body } = decodeCommand(bytes);
    const handler = Object.hasOwn(this.#schema.commands, name) ? this.#schema.commands[name] : undefined;
    if (handler === undefined) throw new CommandRefused(`shard ${this.#schema.name} has no command ${name}`);
    this.#settle();
    const context = this.#context;
    context.begin(incarnation, index, n, this.stampMs);
    this.#touched.clear();
    this.#seenTable = -1;
    let reply: Uint8Array;
    try {
      reply = handler(context, body);
    } catch (error) {
      this.#rollback(context.ops);
      throw error;
    }
    return { status: status.done, reply: copyBytes(reply), ops: context.ops };
  }

  // A command's writes are seen by its own later reads, so they go into the overlay at once; when
  // it is refused afterwards the few cells it touched are put back.
  readonly #touched: Map<string, Cell | undefined> = new Map();

  #rollback(ops: EntryOp[]): void {
    assert(!ops.some((op) => op.kind === 'admit' || op.kind === 'purge'), 'a command may not be refused after admit or purge');
    for (const [id, cell] of this.#touched) {
      if (cell === undefined) this.#cells.delete(id);
      else this.#cells.set(id, cell);
    }
    ops.length = 0;
  }

  // What the command under way has last read of the tables: valid within it, since nothing is applied meanwhile.
  #seenTable = -1;
  #seenKey: Uint8Array = emptyBytes;
  #seenOwner = 0;

  /** One context serves all commands: they run one after the other, and keep nothing of it. */
  readonly #context: HeadContext = new HeadContext(this, (op, ops, index) => this.#write(op, ops, index));

  /** A write of a command. */
  #write(op: ProposedOp, ops: EntryOp[], index: number): void {
    this.#check(op);
    const id = cellId(op.tableId, op.key);
    const before = this.#cells.get(id);
    if (!this.#touched.has(id)) this.#touched.set(id, before);
    let previousOwner = 0;
    if (this.#state.table(op.tableId)?.owned === true) {
      previousOwner = before === undefined ? this.#storedOwner(op.tableId, op.key) : before.owner;
    }
    ops.push(
      op.kind === 'put'
        ? { kind: 'put', tableId: op.tableId, key: op.key, owner: op.owner, previousOwner, value: op.value }
        : { kind: 'delete', tableId: op.tableId, key: op.key, previousOwner },
    );
    this.#setCell(id, op, index);
    this.#window.note(index, op.tableId, op.key);
  }

  /** Records a transaction of the leader's own (no stream), such as a sweep. */
  admit(nodeId: string, incarnation: number, index: number): EntryOp[] {
    const { admitted, replaced } = this.live.admit(nodeId, incarnation);
    if (!admitted) return [];
    this.streams.admit(nodeId, incarnation, replaced);
    if (replaced !== 0) this.#window.notePurge(index);
    return [{ kind: 'admit', nodeId, incarnation }];
  }

  purge(nodeId: string, incarnation: number, index: number): EntryOp[] {
    if (!this.live.purge(nodeId, incarnation) && this.live.highest(nodeId) > incarnation) return [];
    this.streams.freeze(incarnation);
    this.#window.notePurge(index);
    return [{ kind: 'purge', nodeId, incarnation }];
  }

  /** Every numbered transaction that goes into the log. */
  record(incarnation: number, seq: number, receivedUpTo: number, outcome: Outcome): void {
    const next = this.streams.record(incarnation, seq, receivedUpTo, outcome, true);
    assert(next, 'the leader logs only the next number of a stream');
  }

  #note(op: EntryOp, index: number): void {
    if (op.kind !== 'put' && op.kind !== 'delete') return;
    this.#cell(op, index);
    this.#window.note(index, op.tableId, op.key);
  }

  #cell(op: ProposedOp, index: number): void {
    this.#setCell(cellId(op.tableId, op.key), op, index);
  }

  #setCell(id: string, op: ProposedOp, index: number): void {
    const value = op.kind === 'put' ? op.value : undefined;
    // Re-inserted at the end: the map stays in the order of the indexes, which `applied` relies on.
    this.#cells.delete(id);
    this.#cells.set(id, { tableId: op.tableId, key: op.key, value, owner: op.kind === 'put' ? op.owner : 0, index });
  }

  #any(tableId: number, key: Uint8Array): Row | undefined {
    if (this.#unread.length > 0) this.#settle();
    const cell = this.#cells.get(cellId(tableId, key));
    if (cell !== undefined) return cell.value === undefined ? undefined : { value: cell.value, owner: cell.owner };
    return this.#stored(tableId, key);
  }

  /** The row in the tables. */
  #stored(tableId: number, key: Uint8Array): Row | undefined {
    const row = this.#state.reader.getAny(tableId, key);
    this.#seenTable = tableId;
    this.#seenKey = key;
    this.#seenOwner = row?.owner ?? 0;
    return row;
  }

  /** Whose the row in the tables is. Who writes a row has nearly always just read it: it is not looked up twice. */
  #storedOwner(tableId: number, key: Uint8Array): number {
    if (this.#seenTable === tableId && equalBytes(this.#seenKey, key)) return this.#seenOwner;
    return this.#stored(tableId, key)?.owner ?? 0;
  }

  get(table: Table, key: Uint8Array): Row | undefined {
    const row = this.#any(table.id, key);
    return row === undefined || (row.owner !== 0 && !this.live.has(row.owner)) ? undefined : row;
  }

  range(table: Table, start: Uint8Array, end: Uint8Array | undefined, visit: (key: Uint8Array, row: Row) => boolean): void {
    this.#settle();
    const over: Cell[] = [];
    for (const c of this.#cells.values()) if (c.tableId === table.id && keyInRange(c.key, start, end)) over.push(c);
    const show = (key: Uint8Array, row: Row): boolean => (row.owner !== 0 && !this.live.has(row.owner) ? true : visit(key, row));
    rangeThrough(this.#state.reader, table, start, end, over, (c) => (c.value === undefined ? undefined : { value: c.value, owner: c.owner }), show);
  }

  seek(table: Table, key: Uint8Array): { readonly key: Uint8Array; readonly row: Row } | undefined {
    return seekBy(this, table, key);
  }
}
