// How a node leaves the cluster. A core asks to be wanted no more, and then waits until the leaders of all
// shards say that it is in none of the Raft groups: until then it goes on as a voter, because the groups
// may need it. Only then it keeps that it has left, and its data directory serves no node any more. A core
// that was taken out by others, or was stopped on the way, goes the same way when it comes back.
// cluster.ts owns it.
import { ByteReader, MalformedError } from '#base/byte-reader.js';
import { ByteWriter } from '#base/byte-writer.js';
import type { WriteFailure } from '#db/api.js';
import type { NodeDatabase } from '#db/database.js';
import type { Links } from '#link/api.js';
import { type CoreRow, encodeFence, encodeText, leaveRefusal, type Member, memberShard } from './schema.js';

/** Asks a core: of which of the shards that you lead is this node no member, for good? */
const groupsMethod = 'cluster.groups';
const groupsDeadlineMs = 1_000;
const commandDeadlineMs = 5_000;

/** As in ClusterOptions. */
export interface LeavingOptions {
  readonly links: Links;
  readonly database: NodeDatabase;
  readonly nodeId: string;
  readonly name: string;
  readonly saveLeft: (done: (error: Error | undefined) => void) => void;
  readonly onFatal: (error: Error) => void;
}

export interface LeavingOwner {
  readonly cores: () => ReadonlyMap<string, CoreRow>;
  readonly members: () => ReadonlyMap<string, Member>;
  readonly leaving: () => void;
  readonly left: () => void;
}

export class Leaving {
  readonly #o: LeavingOptions;
  readonly #owner: LeavingOwner;
  #asking = false;
  #saving = false;
  /** The cores are being asked about this node. */
  #polling = false;
  #waiting: ((refused: string | undefined) => void)[] = [];

  constructor(options: LeavingOptions, owner: LeavingOwner) {
    this.#o = options;
    this.#owner = owner;
    options.links.handle(groupsMethod, (_from, body, reply) => {
      const nodeId = readNodeId(body);
      if (nodeId === undefined) reply('malformed');
      else this.#outOf(nodeId, (shards) => reply(undefined, shards));
    });
  }

  refusal(): string | undefined {
    const { database, links, nodeId } = this.#o;
    const members = this.#owner.members();
    if (database.role !== 'core') return undefined;
    // The table says "up" of a dead one until it was silent for long enough.
    const runs = (id: string): boolean => members.get(id)?.up === true && links.peer(id) !== undefined;
    return leaveRefusal(this.#owner.cores().values(), nodeId, runs, members.size);
  }

  /** On a member: asks for it, then goes. */
  ask(done: (refused: string | undefined) => void): void {
    const { database, nodeId } = this.#o;
    if (this.#asking) return done('this node is leaving already');
    this.#asking = true;
    const core = database.role === 'core';
    const { incarnation } = database;
    database.command(memberShard, core ? 'leave' : 'left', encodeText(nodeId), { deadlineMs: commandDeadlineMs }, (failure) => {
      this.#asking = false;
      // Whether it happened or not shows when a core joins again.
      if (failure !== undefined) return done(because(failure));
      this.#waiting.push(done);
      if (core) this.begin();
      else if (database.incarnation === incarnation) this.#gone();
      // The answer was lost, with the links of a node that is no member any more: to hear it, it has joined again.
      else this.#sayLeft();
    });
  }

  /** Wanted no more: wait until out of all groups. */
  begin(): void {
    this.#owner.leaving();
    this.step();
  }

  /** Regularly, until it is done. */
  step(): void {
    const { database, nodeId } = this.#o;
    if (this.#saving || this.#polling) return;
    let others = 0;
    for (const c of this.#owner.cores().values()) if (c.wanted === 'voter' && c.nodeId !== nodeId) others++;
    // The last core, alone: there is nobody to take it out.
    if (others === 0 && this.#owner.cores().get(nodeId)?.wanted === 'removed') return this.#save();
    this.#poll((out) => {
      if (database.shards.every((s) => out.has(s))) this.#save();
    });
  }

  /** On a member that nobody leads any more: was it taken out while it was away? */
  suspect(): void {
    if (this.#saving || this.#polling) return;
    this.#poll((out) => {
      if (out.has(memberShard)) this.begin();
    });
  }

  #poll(then: (out: ReadonlySet<string>) => void): void {
    this.#polling = true;
    this.#askCores(this.#o.nodeId, new Set(), (out) => {
      this.#polling = false;
      then(out);
    });
  }

  /**
   * Asked by the leader of shard `cluster` before it takes a core out of that group: the last of all, because who
   * leads another one must see what is wanted.
   */
  outElsewhere(nodeId: string, done: (out: boolean) => void): void {
    const { database } = this.#o;
    this.#outOf(nodeId, (here) => {
      const out = new Set<string>();
      readShards(here, out);
      this.#askCores(nodeId, out, (all) => done(database.shards.every((s) => s === memberShard || all.has(s))));
    });
  }

  #askCores(nodeId: string, out: Set<string>, then: (out: ReadonlySet<string>) => void): void {
    const { links } = this.#o;
    const w = new ByteWriter(64);
    w.string(nodeId);
    const cores = links.peers().filter((p) => p.role === 'core');
    let missing = cores.length;
    if (missing === 0) return then(out);
    for (const p of cores)
      links.call(p.nodeId, groupsMethod, w.view(), groupsDeadlineMs, (failure, body) => {
        if (failure === undefined) readShards(body, out);
        if (--missing === 0) then(out);
      });
  }

  /** Shards that this node leads, linearizably, and that the other was taken out of, committed. */
  #outOf(nodeId: string, done: (shards: Uint8Array) => void): void {
    const { database } = this.#o;
    const out: string[] = [];
    const led = database.shards.flatMap((s) => database.coreShard(s) ?? []).filter((c) => c.leader !== undefined);
    // Not one that has yet to come in.
    const removed = this.#owner.cores().get(nodeId)?.wanted === 'removed';
    let missing = removed ? led.length : 0;
    const end = (): void => {
      const w = new ByteWriter(128);
      w.varint(out.length);
      for (const s of out) w.string(s);
      done(w.finish());
    };
    if (missing === 0) return end();
    for (const core of led)
      core.readIndex((index) => {
        const { config, changePending } = core.raft;
        const member = config.voters.includes(nodeId) || config.learners.includes(nodeId);
        if (index !== undefined && !member && !changePending) out.push(core.shard);
        if (--missing === 0) end();
      });
  }

  #save(): void {
    if (this.#saving) return;
    this.#saving = true;
    this.#o.saveLeft((error) => {
      if (error !== undefined) return this.#o.onFatal(error);
      // The others would find out: it is silent from now on. Better soon, and with its address.
      this.#sayLeft();
    });
  }

  #sayLeft(): void {
    this.#o.database.commandUnjoined(memberShard, 'left', encodeText(this.#o.nodeId), groupsDeadlineMs, () => this.#gone());
  }

  #gone(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const done of waiting) done(undefined);
    this.#owner.left();
  }

  // ---- another node ----

  force(name: string, done: (refused: string | undefined) => void): void {
    const { database, links } = this.#o;
    if (name === this.#o.name) return done('this is the node itself: use leave');
    if (links.peers().some((p) => p.name === name && p.incarnation > 0)) return done(`${name} runs and is connected: run "ctl cluster leave" on it`);
    const member = [...this.#owner.members().values()].find((m) => m.name === name);
    const options = { deadlineMs: commandDeadlineMs };
    const go = (): void => database.command(memberShard, 'forceLeave', encodeText(name), options, (failure) => done(failure && because(failure)));
    if (member?.up !== true) return go();
    database.command(memberShard, 'fence', encodeFence(member.nodeId, member.incarnation), options, (failure) => {
      if (failure === undefined) go();
      else done(because(failure));
    });
  }
}

function because(failure: WriteFailure): string {
  return failure.kind === 'refused' ? failure.message : `the cluster did not answer in time: ${failure.message}`;
}

function readNodeId(body: Uint8Array): string | undefined {
  try {
    return new ByteReader(body).string();
  } catch (error) {
    if (error instanceof MalformedError) return undefined;
    throw error;
  }
}

function readShards(body: Uint8Array, into: Set<string>): void {
  try {
    const r = new ByteReader(body);
    for (let n = r.varint(); n > 0; n--) into.add(r.string());
  } catch (error) {
    if (!(error instanceof MalformedError)) throw error;
  }
}
