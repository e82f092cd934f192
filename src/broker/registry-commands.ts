// The registry's conditional commands, evaluated once at the leader of a registry shard. They decide
// from the row alone; every write is conditional on epochs, so that a stale epoch writes nothing.
//
// Invariant: at any position of the log a client id has at most one holder, and the epoch of the last
// registration is the owner's; `takeoverDone`, `ended` and `disconnected` of any other are refused.
import { MalformedError } from '#base/byte-reader.js';
import { ByteWriter } from '#base/byte-writer.js';
import { emptyBytes } from '#base/bytes.js';
import { type CommandContext, type CommandHandler, CommandRefused, type Table } from '#db/api.js';
import { decoded, decodeKeys } from '#db/command-body.js';
import {
  type Continues,
  decodeDueKey,
  type WillTables,
  willsOfEnd,
  willsOfReassertion,
  willsOfRegistration,
  willsOfTakeover,
  willsOfTheDead,
  willsPublished,
} from './registered-wills.js';
import { type BatchedCommand, beginReply, endReply, readItems, refuseReply } from './registry-batch.js';
import {
  alsoMax,
  type Claim,
  decodeEpoch,
  decodeRegister,
  decodeRow,
  decodeVerify,
  displacedMax,
  type EpochBody,
  type EpochReply,
  type EpochVerdict,
  encodeLookup,
  encodeVerdicts,
  type RegisterBody,
  type RegistryRow,
  writeEpochReply,
  writeRegisterReply,
  writeRow,
} from './registry-row.js';

/** With the tables of the wills that stand beside its rows. */
export interface RegistryTable extends Table {
  readonly wills: WillTables;
}

const neverExpires = 0xffff_ffff;
/** Of claims, or of epochs. */
const none: readonly never[] = [];

const current: EpochReply = { verdict: 'current', displaced: none };
const stale: EpochReply = { verdict: 'stale', displaced: none };
const absent: EpochReply = { verdict: 'absent', displaced: none };

/** One command: what it does, and its reply. What it refuses it refuses before it writes. */
type Decision = (context: CommandContext, table: RegistryTable, body: Uint8Array, reply: ByteWriter) => void;

const onEpoch =
  (decide: (context: CommandContext, table: RegistryTable, body: EpochBody, row: RegistryRow | undefined) => EpochReply): Decision =>
  (context, table, bytes, reply) => {
    const body = decodeEpoch(bytes);
    writeEpochReply(reply, decide(context, table, body, read(context, table, body.key)));
  };

const decisions: Readonly<Record<BatchedCommand | 'takeoverDone', Decision>> = {
  register,
  takeoverDone: onEpoch(takeoverDone),
  settle: onEpoch(settle),
  disconnected: onEpoch(disconnected),
  ended: onEpoch(ended),
  reassert: onEpoch(reassert),
};

/** Replies are copied by the database as soon as a command is over, rows when they are put. */
const replyBytes = new ByteWriter(1024);
const rowBytes = new ByteWriter(256);

export function registryCommands(table: RegistryTable): Readonly<Record<string, CommandHandler>> {
  const alone =
    (decide: Decision): CommandHandler =>
    (context, bytes) => {
      replyBytes.reset();
      decoded(() => decide(context, table, bytes, replyBytes));
      return replyBytes.view();
    };
  const commands: Record<string, CommandHandler> = {};
  for (const [name, decide] of Object.entries(decisions)) commands[name] = alone(decide);
  return {
    ...commands,
    batch: (context, bytes) => decoded(() => batch(context, table, bytes)),
    lookup: (context, bytes) => encodeLookup(read(context, table, bytes)),
    verify: (context, bytes) => verify(context, table, bytes),
    expire: (context, bytes) => expire(context, table, bytes),
    willsOrphaned: (context, bytes) => orphaned(context, table, bytes),
    willsPublished: (context, bytes) => published(context, table, bytes),
  };
}

/** Several commands, one after the other: each sees what those before it did, and is refused by itself. */
function batch(context: CommandContext, table: RegistryTable, bytes: Uint8Array): Uint8Array {
  replyBytes.reset();
  readItems(bytes, (command, body) => {
    const at = beginReply(replyBytes);
    try {
      decisions[command](context, table, body, replyBytes);
      endReply(replyBytes, at);
    } catch (error) {
      if (!(error instanceof CommandRefused || error instanceof MalformedError)) throw error;
      refuseReply(replyBytes, at);
    }
  });
  return replyBytes.view();
}

/**
 * The row as it counts: an owner whose incarnation is not live is absent. A holder that is not live hides the whole row;
 * but one with the session on its disk is the same node again when it comes back.
 */
function read(context: CommandContext, table: RegistryTable, key: Uint8Array): RegistryRow | undefined {
  const found = stored(context, table, key);
  if (found === undefined) return undefined;
  const row = found.durable ? returned(context, found) : found;
  if (!context.isLive(row.holder.incarnation)) return undefined;
  const owner = row.owner !== undefined && context.isLive(row.owner.incarnation) ? row.owner : undefined;
  if (owner === row.owner && row.displaced.length === 0) return row;
  return { ...row, owner, displaced: row.displaced.filter((claim) => context.isLive(claim.incarnation)) };
}

/** The row whether it counts or not. */
function stored(context: CommandContext, table: RegistryTable, key: Uint8Array): RegistryRow | undefined {
  const found = context.get(table, key);
  return found === undefined ? undefined : decodeRow(found.value, found.owner === 0);
}

function returned(context: CommandContext, row: RegistryRow): RegistryRow {
  const { holder } = row;
  const incarnation = context.liveIncarnation(holder.nodeId);
  return incarnation === 0 || incarnation === holder.incarnation ? row : { ...row, holder: { ...holder, incarnation } };
}

function write(context: CommandContext, table: RegistryTable, key: Uint8Array, row: RegistryRow): void {
  rowBytes.reset();
  writeRow(rowBytes, row);
  context.put(table, key, rowBytes.view(), row.durable ? undefined : row.holder.incarnation);
}

/** The sender's claim. Only a node that is a member writes here. */
function claimOf(context: CommandContext, nodeId: string, epoch: number): Claim {
  if (context.incarnation === 0 || context.liveIncarnation(nodeId) !== context.incarnation) throw new CommandRefused('the node is not a member');
  return { nodeId, incarnation: context.incarnation, epoch, also: none };
}

function isOf(claim: Claim | undefined, context: CommandContext, epoch: number): boolean {
  return claim !== undefined && claim.epoch === epoch && claim.incarnation === context.incarnation;
}

/** The holder may still know its session by this older epoch. */
function wasOf(claim: Claim, context: CommandContext, epoch: number): boolean {
  return claim.incarnation === context.incarnation && claim.also.includes(epoch);
}

function register(context: CommandContext, table: RegistryTable, bytes: Uint8Array, reply: ByteWriter): void {
  const body = decodeRegister(bytes);
  const mine = claimOf(context, body.nodeId, context.position);
  const before = read(context, table, body.key);
  const elsewhere = before !== undefined && before.holder.incarnation !== mine.incarnation;
  if (standsBack(body, before, mine)) {
    writeRegisterReply(reply, { epoch: 0, holder: before?.holder, owner: before?.owner, displaced: none });
    return;
  }
  const keepsHolder = elsewhere && (body.mode === 'continue' || body.mode === 'adopt');
  const displaced = before?.displaced ?? none;
  const also = before === undefined || elsewhere ? none : [...before.holder.also, before.holder.epoch].slice(-alsoMax);
  write(context, table, body.key, {
    owner: mine,
    holder: keepsHolder ? before.holder : also === none ? mine : { ...mine, also },
    sessionExpiryInterval: body.sessionExpiryInterval,
    disconnectedAtMs: 0,
    displaced: elsewhere && !keepsHolder ? [...displaced, before.holder].slice(-displacedMax) : displaced,
    will: emptyBytes,
    // While the old holder has the session, what counts is whether it is on that one's disk.
    durable: keepsHolder ? before.durable : body.durable,
  });
  const continues: Continues = body.mode === 'clean' || before === undefined ? 'fresh' : keepsHolder ? 'elsewhere' : elsewhere ? 'fresh' : 'here';
  willsOfRegistration(context, table.wills, body.key, mine.epoch, continues, body.will);
  writeRegisterReply(reply, { epoch: mine.epoch, holder: before?.holder, owner: before?.owner, displaced });
}

function standsBack({ mode, adopts }: RegisterBody, before: RegistryRow | undefined, mine: Claim): boolean {
  // Whoever has the client id with a quorum goes before one who had it without.
  if (mode === 'offer' && before !== undefined)
    return before.holder.incarnation !== mine.incarnation || (before.owner !== undefined && before.owner.incarnation !== mine.incarnation);
  if (mode !== 'adopt') return false;
  // There is a session elsewhere, and its client is not connected.
  if (before === undefined || before.owner !== undefined || before.holder.incarnation === mine.incarnation) return true;
  // Who gives it away has it: it may not have heard yet that another node does.
  return adopts > 0 && before.holder.epoch !== adopts && !before.holder.also.includes(adopts);
}

/**
 * The owner has the session now. Without a row its holder was purged meanwhile: the owner's claim stands alone, unless a row
 * that only does not count, because its holder's node is down, shows a newer one.
 */
function takeoverDone(context: CommandContext, table: RegistryTable, body: EpochBody, row: RegistryRow | undefined): EpochReply {
  const mine = claimOf(context, body.nodeId, body.epoch);
  if (row !== undefined ? !isOf(row.owner, context, body.epoch) : isNewer(stored(context, table, body.key), body.epoch)) return stale;
  const { sessionExpiryInterval } = row ?? body;
  const displaced = displacedBy(mine, row);
  write(context, table, body.key, {
    owner: mine,
    holder: mine,
    sessionExpiryInterval,
    disconnectedAtMs: 0,
    displaced,
    will: row?.will ?? emptyBytes,
    durable: body.durable,
  });
  willsOfTakeover(context, table.wills, body.key, body.epoch, body.fresh);
  return { verdict: 'current', displaced };
}

/** The client has begun a newer connection, whether the row counts or not. */
function isNewer(row: RegistryRow | undefined, epoch: number): boolean {
  return row !== undefined && Math.max(row.holder.epoch, row.owner?.epoch ?? 0) > epoch;
}

/** takeoverDone whose first answer was lost, long after: without a row others may have come and gone, and it is void. */
function settle(context: CommandContext, table: RegistryTable, body: EpochBody, row: RegistryRow | undefined): EpochReply {
  return row === undefined ? absent : takeoverDone(context, table, body, row);
}

/** Who still has a session and must be told; they stay in the row until they have been. */
function displacedBy(mine: Claim, row: RegistryRow | undefined): readonly Claim[] {
  if (row === undefined) return [];
  return [...row.displaced, row.holder].filter((claim) => claim.incarnation !== mine.incarnation).slice(-displacedMax);
}

function disconnected(context: CommandContext, table: RegistryTable, body: EpochBody, row: RegistryRow | undefined): EpochReply {
  claimOf(context, body.nodeId, body.epoch);
  if (body.will !== undefined) willsOfEnd(context, table.wills, body.key, body.epoch, body.will);
  const disconnectedAtMs = context.stampMs;
  // A row goes with its holder or by a newer claim: the session that is still there has lost it.
  if (row === undefined) return absent;
  const owned = isOf(row.owner, context, body.epoch);
  if (owned) {
    // DISCONNECT may change it (section 3.14.2.2.2).
    const { sessionExpiryInterval } = body.newExpiry === true ? body : row;
    const displaced = body.settled ? [] : row.displaced;
    write(context, table, body.key, { ...row, owner: undefined, disconnectedAtMs, displaced, sessionExpiryInterval });
  }
  // With a takeover under way the holder's session must stay until it is fetched.
  return owned || isOf(row.holder, context, body.epoch) || wasOf(row.holder, context, body.epoch) ? current : stale;
}

function ended(context: CommandContext, table: RegistryTable, body: EpochBody, row: RegistryRow | undefined): EpochReply {
  if (body.will !== undefined) willsOfEnd(context, table.wills, body.key, body.epoch, body.will);
  if (row === undefined) return absent;
  const owned = isOf(row.owner, context, body.epoch);
  if (isOf(row.holder, context, body.epoch)) {
    // A newer owner that was about to fetch the session starts with none: it is the holder from now on.
    if (row.owner !== undefined && !owned) {
      // Whether that one is on a disk is not known here: `takeoverDone` says it.
      write(context, table, body.key, { ...row, holder: row.owner, durable: false });
      return current;
    }
    context.delete(table, body.key);
    // Nobody else can tell them any more.
    return { verdict: 'current', displaced: row.displaced };
  }
  if (!owned) return wasOf(row.holder, context, body.epoch) ? current : stale;
  // A takeover that was given up: the holder keeps the session, and nobody is connected.
  write(context, table, body.key, { ...row, owner: undefined, disconnectedAtMs: context.stampMs });
  return current;
}

/**
 * After a new incarnation: a session is kept only if nobody has a newer epoch; who has an older one loses. Without a row
 * only a connected client shows that its session is still the last: one that is away may have begun and lost another since.
 */
function reassert(context: CommandContext, table: RegistryTable, body: EpochBody, row: RegistryRow | undefined): EpochReply {
  const mine = claimOf(context, body.nodeId, body.epoch);
  if (row !== undefined && isOf(row.holder, context, body.epoch)) return reassertHolder(context, table, body, row, mine);
  // A newer session on the disk of a node that is down does not count, but shows that this one is not the last.
  if (isNewer(row ?? stored(context, table, body.key), body.epoch)) return stale;
  if (row === undefined && !body.connected) return absent;
  willsOfReassertion(context, table.wills, body.key, body.epoch, body.connected);
  const displaced = displacedBy(mine, row);
  write(context, table, body.key, {
    owner: mine,
    holder: mine,
    sessionExpiryInterval: row?.sessionExpiryInterval ?? body.sessionExpiryInterval,
    disconnectedAtMs: 0,
    displaced,
    will: row?.will ?? emptyBytes,
    durable: body.durable,
  });
  return { verdict: 'current', displaced };
}

/**
 * The row is the sender's already, of an earlier incarnation maybe. A newer owner is only about to fetch the session, which
 * stays until `takeoverDone`; and a client that is away owns nothing, also after a takeover that was given up.
 */
function reassertHolder(context: CommandContext, table: RegistryTable, body: EpochBody, row: RegistryRow, mine: Claim): EpochReply {
  willsOfReassertion(context, table.wills, body.key, body.epoch, body.connected);
  const displaced = displacedBy(mine, row);
  const owned = row.owner === undefined && body.connected;
  const disconnectedAtMs = row.owner !== undefined || owned ? 0 : row.disconnectedAtMs || context.stampMs;
  write(context, table, body.key, { ...row, owner: owned ? mine : row.owner, disconnectedAtMs, displaced, durable: body.durable });
  return { verdict: 'current', displaced };
}

/** Replies with the leader's stamp. */
function orphaned(context: CommandContext, table: RegistryTable, bytes: Uint8Array): Uint8Array {
  willsOfTheDead(
    context,
    table.wills,
    decoded(() => decodeKeys(bytes)),
  );
  replyBytes.reset();
  replyBytes.f64(context.stampMs);
  return replyBytes.view();
}

function published(context: CommandContext, table: RegistryTable, bytes: Uint8Array): Uint8Array {
  willsPublished(
    context,
    table.wills,
    decoded(() => decodeKeys(bytes).map(decodeDueKey)),
  );
  return emptyBytes;
}

/** Rows of sessions on the disk of a node that is down: their time runs from when the first look finds it so. */
function expire(context: CommandContext, table: RegistryTable, bytes: Uint8Array): Uint8Array {
  for (const key of decoded(() => decodeKeys(bytes))) {
    const row = stored(context, table, key);
    if (row === undefined || !row.durable) continue;
    const now = returned(context, row);
    if (now !== row) write(context, table, key, { ...now, owner: undefined });
    else if (!context.isLive(row.holder.incarnation)) expireOne(context, table, key, row);
  }
  return emptyBytes;
}

function expireOne(context: CommandContext, table: RegistryTable, key: Uint8Array, row: RegistryRow): void {
  const { sessionExpiryInterval, disconnectedAtMs } = row;
  if (disconnectedAtMs === 0) write(context, table, key, { ...row, owner: undefined, disconnectedAtMs: context.stampMs });
  else if (sessionExpiryInterval !== neverExpires && context.stampMs - disconnectedAtMs > sessionExpiryInterval * 1000) context.delete(table, key);
}

/** Which of the sender's sessions the registry knows as its own, or as those of a registration of its. */
function verify(context: CommandContext, table: RegistryTable, bytes: Uint8Array): Uint8Array {
  const verdict = (key: Uint8Array, epoch: number): EpochVerdict => {
    const row = read(context, table, key);
    if (row === undefined) return 'absent';
    return isOf(row.owner, context, epoch) || isOf(row.holder, context, epoch) || wasOf(row.holder, context, epoch) ? 'current' : 'stale';
  };
  // One that is not admitted yet would find rows that are its own in the hands of the incarnation before.
  if (!context.isLive(context.incarnation)) throw new CommandRefused('the node is not a member');
  return encodeVerdicts(decoded(() => decodeVerify(bytes)).map(({ key, epoch }) => verdict(key, epoch)));
}
