import { laterHardState, ShardLog } from './shard-log.js';
export class RecoveringShard {
  log;
  suspicion;
  /** A hard state was lost; the mirror may have it. */
  lostVote;
  /** A newer base was lost, with the configuration in it. */
  lostBase;
  constructor(name, number) {
    this.log = new ShardLog(name, number);
  }
  /** A record of this shard was lost, or an unknown number of records. */
  suspect(damage) {
    const { log } = this;
    if (this.suspicion === undefined) this.suspicion = { damage, keep: log.lastIndex, resume: undefined };
    this.#cut(this.suspicion);
  }
  /** Forgets what came behind a hole: it cannot be relied on any more. */
  #cut(s) {
    const { log } = this;
    s.resume = undefined;
    log.truncate(s.keep + 1);
    log.lastIndex = s.keep;
  }
  #term(index) {
    const s = this.suspicion;
    if (s === undefined || index <= s.keep) return this.log.term(index);
    if (s.resume === undefined || index < s.resume.index - 1) return undefined;
    return index === s.resume.index - 1 ? s.resume.previousTerm : this.log.term(index);
  }
  entries(r, place, damage) {
    const { log } = this;
    const before = r.firstIndex - 1;
    const follows = before >= log.base.index && before <= log.lastIndex && this.#term(before) === r.previousTerm;
    if (!follows) {
      this.suspicion ??= { damage: damage(), keep: log.lastIndex, resume: undefined };
      // The entry before is missing or another one than ours.
      this.suspicion.keep = Math.max(log.base.index, Math.min(this.suspicion.keep, before - 1));
      this.#cut(this.suspicion);
      this.suspicion.resume = { index: r.firstIndex, previousTerm: r.previousTerm };
    } else {
      if (this.suspicion !== undefined && before <= this.suspicion.keep) this.suspicion = undefined;
      log.truncate(r.firstIndex);
    }
    log.index.push({ ...place, firstIndex: r.firstIndex });
    for (let e = r.next(); e !== undefined; e = r.next()) {
      log.terms.push(e.index, e.term);
      log.lastIndex = e.index;
    }
  }
  truncate(from) {
    const { log, suspicion: s } = this;
    if (from <= log.base.index) return;
    if (s !== undefined && (s.resume === undefined || from <= s.resume.index)) {
      // Proves nothing: what is left may still be what the lost record overwrote.
      s.keep = Math.min(s.keep, from - 1);
      this.#cut(s);
    } else {
      log.truncate(from);
    }
  }
  base(base) {
    const { log, suspicion: s } = this;
    this.lostBase = undefined;
    if (base.index < log.base.index) return;
    const proven = base.index <= log.lastIndex && this.#term(base.index) === base.term;
    if (proven) {
      log.compact(base);
      if (s !== undefined && base.index > s.keep) this.suspicion = undefined;
      return;
    }
    if (s?.resume !== undefined && base.index < s.resume.index - 1) {
      // Before the end of the hole: what is behind it may still prove useful.
      log.compact(base);
      s.keep = base.index;
      return;
    }
    log.reset(base);
    if (s === undefined) return;
    s.keep = base.index;
    s.resume = undefined;
  }
  install(base, adopted) {
    const { log } = this;
    this.lostBase = undefined;
    if (adopted === undefined) {
      log.reset(base);
      this.suspicion = undefined;
      return;
    }
    adopted.base(base);
    log.adopt(adopted.log, base);
    this.suspicion = adopted.suspicion;
  }
  /** A segment's head tells the shard's state at that point. */
  head(state, known, damage) {
    const { log } = this;
    log.hardState = laterHardState(log.hardState, state.hardState);
    log.damage = state.damage;
    this.lostVote = undefined;
    this.lostBase = undefined;
    if (!known) log.reset(state.base);
    else if (state.base.index > log.base.index) this.base(state.base);
    else if (state.base.index === log.base.index) log.base = state.base;
    const { lastIndex, lastTerm } = state;
    if (this.#term(lastIndex) === lastTerm) {
      log.truncate(lastIndex + 1);
      if (this.suspicion !== undefined && lastIndex <= this.suspicion.keep) this.suspicion = undefined;
      return;
    }
    this.suspicion ??= { damage: damage(), keep: log.lastIndex, resume: undefined };
    this.suspicion.keep = Math.max(log.base.index, Math.min(this.suspicion.keep, lastIndex - 1));
    this.#cut(this.suspicion);
    this.suspicion.resume = { index: lastIndex + 1, previousTerm: lastTerm };
    log.lastIndex = lastIndex;
  }
  /** After the last record: what is left is a log without holes. */
  finish() {
    const { log, suspicion: s } = this;
    log.damage ??= this.lostBase;
    if (s !== undefined) {
      log.damage = s.damage;
      this.#cut(s);
    }
    log.writtenIndex = log.lastIndex;
    // After a killed process it may be in the page cache only: durable once the log has synced it.
    log.durableIndex = 0;
    log.syncingIndex = log.lastIndex;
    return log;
  }
}
//# sourceMappingURL=recovering-shard.js.map
