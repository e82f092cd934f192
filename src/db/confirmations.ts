// What this core has confirmed of leaders, and until when those of earlier terms may therefore report anything
// effective. A new leader is told by the voters that confirm it: one of any majority of them was in the
// majority that confirmed its predecessor last, or is the predecessor. So it need not wait for those that do not
// speak any longer than that. Of visibility.ts; pure.
//
// Invariant: `earlier` is never before the end of what was confirmed of an earlier leader by this core, be it
// by a process before this one.

/** A list of nodes, and when it changed last, as far as this core has seen. */
class Noted {
  #ids: readonly string[] = [];
  #changedAt: number;

  constructor(now: number) {
    this.#changedAt = now;
  }

  changedAt(ids: readonly string[], now: number): number {
    const known = this.#ids;
    if (ids === known) return this.#changedAt;
    if (ids.length !== known.length || ids.some((id, i) => id !== known[i])) this.#changedAt = now;
    this.#ids = ids;
    return this.#changedAt;
  }
}

export class Confirmations {
  #term = 0;
  #until = Number.NEGATIVE_INFINITY;
  #earlier: number;
  readonly #voters: Noted;
  readonly #learners: Noted;

  /** `now`: start of this process; an earlier one may have confirmed somebody until then for `ms`. */
  constructor(now: number, ms: number) {
    this.#earlier = now + ms;
    this.#voters = new Noted(now);
    this.#learners = new Noted(now);
  }

  /** The leader of the term, perhaps this core itself, may count on this core until then. */
  confirm(term: number, until: number): void {
    if (term !== this.#term) {
      this.#earlier = Math.max(this.#earlier, this.#until);
      this.#term = term;
      this.#until = until;
    } else this.#until = Math.max(this.#until, until);
  }

  /** Until when leaders of terms before this one may count on this core. */
  earlier(term: number): number {
    return term === this.#term ? this.#earlier : Math.max(this.#earlier, this.#until);
  }

  /**
   * When the voters changed last, as far as this core has seen. Majorities of the voters before and after two
   * changes need not meet: what the voters of now know says nothing of what was before.
   */
  changedAt(voters: readonly string[], now: number): number {
    return this.#voters.changedAt(voters, now);
  }

  /** When the group changed last, learners included: they hold leases too, and one that is none any more may do so still. */
  groupChangedAt(voters: readonly string[], learners: readonly string[], now: number): number {
    return Math.max(this.changedAt(voters, now), this.#learners.changedAt(learners, now));
  }
}
