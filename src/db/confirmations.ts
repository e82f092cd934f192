// What this core has confirmed of leaders, and until when those of earlier terms may therefore report anything
// effective. A new leader is told by the voters that confirm it: one of any majority of them was in the
// majority that confirmed its predecessor last, or is the predecessor. So it need not wait for those that do not
// speak any longer than that. Of visibility.ts; pure.
//
// Invariant: `earlier` is never before the end of what was confirmed of an earlier leader by this core, be it
// by a process before this one.

export class Confirmations {
  #term = 0;
  #until = Number.NEGATIVE_INFINITY;
  #earlier: number;
  #voters: readonly string[] = [];
  #changedAt: number;
  #learners: readonly string[] = [];
  #groupChangedAt: number;

  /** `now`: start of this process; an earlier one may have confirmed somebody until then for `ms`. */
  constructor(now: number, ms: number) {
    this.#earlier = now + ms;
    this.#changedAt = now;
    this.#groupChangedAt = now;
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
    const known = this.#voters;
    if (voters === known) return this.#changedAt;
    if (voters.length !== known.length || voters.some((id, i) => id !== known[i])) this.#changedAt = now;
    this.#voters = voters;
    // Another list, though of the same nodes: there was a change, or several.
    this.#groupChangedAt = now;
    return this.#changedAt;
  }

  /**
   * When the group changed last, learners included: they hold leases too, and one that is none any more may do so still.
   * It may have come and gone since the last look: each change of the group makes lists of its own.
   */
  groupChangedAt(voters: readonly string[], learners: readonly string[], now: number): number {
    this.changedAt(voters, now);
    if (learners !== this.#learners) this.#groupChangedAt = now;
    this.#learners = learners;
    return this.#groupChangedAt;
  }
}
