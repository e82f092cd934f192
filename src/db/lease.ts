// The two ends of a lease. A node that holds one is in service: whatever is reported effective waits until it
// has seen it. Its holder counts it from the moment it asked, and by a shortened measure; its grantor from the
// moment it answered: so the holder's end comes first, however long the messages took and although clocks
// run unevenly. Monotonic time only. Pure.

/** By so much a holder shortens its lease: two clocks may run apart by a twentieth. */
export const leaseMargin = 0.05;

/**
 * So many leases last what a leader is confirmed for, and so long at most a new one waits for whoever does not speak.
 * The leases that it grants end with it at the latest: to be worth granting it must outlast, by one of them, the
 * round trip and the round in which it was confirmed.
 */
const leadLeases = 2;

/** For how long after it asked them a leader is confirmed by a majority. */
export function leadMs(leaseMs: number): number {
  return leadLeases * leaseMs;
}

/**
 * A lease lasts longer for who is so far away that the usual one would end before the next arrives: so many times the
 * round trip and the pause between two requests. Never longer than a leader is confirmed: it ends with that.
 */
const farTimes = 1.3;
/** The longest pause between two requests, as a share of the usual lease (leases.ts). */
const askShare = 1 / 5;

function leaseMsFor(leaseMs: number, roundTripMs: number): number {
  return Math.max(leaseMs, Math.min(leadMs(leaseMs), farTimes * (roundTripMs + leaseMs * askShare)));
}

/** The holder's end. Invariant: what it counts as held has a floor that the holder has seen. */
export class HeldLease {
  #until = Number.NEGATIVE_INFINITY;
  #floor = 0;
  /** Granted under a floor that the holder has yet to see; what it held before goes on until it ends. */
  #next: { readonly until: number; readonly floor: number } | undefined;

  /** Granted for `ms`, in answer to a request that was sent at `sentAt`. */
  take(sentAt: number, ms: number, floor: number): void {
    this.#next = { until: sentAt + ms * (1 - leaseMargin), floor };
  }

  /** End of the lease, by the holder's clock; in the past when there is none. */
  until(visible: number): number {
    const next = this.#next;
    if (next !== undefined && next.floor <= visible) {
      this.#next = undefined;
      if (next.until > this.#until) {
        this.#until = next.until;
        this.#floor = next.floor;
      }
    }
    return this.#until;
  }

  /** Of the lease that counts. */
  get floor(): number {
    return this.#floor;
  }

  /** The holder is out of service, whatever it was granted. */
  drop(): void {
    this.#until = Number.NEGATIVE_INFINITY;
    this.#next = undefined;
  }
}

/** How a grantor judges those who ask. */
export interface LeaseTerms {
  /** No lease ends later than so long after it was last asked for, but for holders that are far. */
  readonly leaseMs: number;
  /** Time that one who is out of service has to reach its floor, while everybody waits for it; and a round trip. */
  readonly joinMs: number;
  /** One who has been behind for longer is not waited for any more, and for as long not let in again. */
  readonly lateMs: number;
  /** Somebody is let go for being late. */
  readonly onLate?: () => void;
}

/** Of a lease: an extension by less is not worth a message of its own. */
const worthShare = 1 / 8;

/**
 * The grantor's end, one per holder. `visible` is what the holder said last, `until` how long it counts. A
 * grantor gives nothing beyond the end of its own lease; when that moves, so may those that it gave.
 */
export class Grantee {
  visible = 0;
  until: number = Number.NEGATIVE_INFINITY;
  /** Of the last request. */
  round = 0;
  /** Round trip to the holder, and to the farthest that it may grant leases to in turn. */
  roundTripMs = 0;
  readonly #terms: LeaseTerms;
  #askedAt = Number.NEGATIVE_INFINITY;
  /** End of what was granted here; it may hold more, of somebody else. */
  #granted = Number.NEGATIVE_INFINITY;
  #welcome = false;
  #joined = false;
  #joinFloor = 0;
  #barredUntil = Number.NEGATIVE_INFINITY;
  /** It had by now everything that there was at this time. */
  #caughtUpAt = 0;
  #markIndex = 0;
  #markAt = 0;

  constructor(terms: LeaseTerms) {
    this.#terms = terms;
  }

  counts(now: number): boolean {
    return this.until > now;
  }

  /** It may hold a lease of somebody else until then. */
  hold(now: number, until: number): void {
    this.until = until;
    this.#mark(now, 0, now);
  }

  /** Of somebody else it holds none any more after that. */
  release(until: number): void {
    this.until = Math.min(this.until, Math.max(until, this.#granted));
  }

  /** It has seen so much, of `target`. */
  see(now: number, visible: number, target: number): void {
    this.visible = visible;
    if (!this.#joined && visible >= this.#joinFloor) this.#joined = true;
    if (visible >= target) this.#mark(now, target, now);
    else if (visible >= this.#markIndex) this.#mark(this.#markAt, target, now);
  }

  #mark(caughtUpAt: number, index: number, now: number): void {
    this.#caughtUpAt = caughtUpAt;
    this.#markIndex = index;
    this.#markAt = now;
  }

  /** Asked for a lease by one whose own ends at `ends`. The lease's length from this moment, 0: none. */
  renew(now: number, round: number, visible: number, target: number, floor: number, ends: number): number {
    this.round = round;
    this.#askedAt = now;
    if (now >= this.#barredUntil && !this.counts(now)) {
      this.#joined = false;
      this.#joinFloor = floor;
      this.#mark(now, floor, now);
    }
    this.see(now, visible, target);
    const behindMs = this.roundTripMs + (this.#joined ? this.#terms.lateMs : this.#terms.joinMs);
    this.#welcome = now >= this.#barredUntil && now - this.#caughtUpAt <= behindMs;
    if (!this.#welcome && now >= this.#barredUntil) {
      this.#barredUntil = now + this.#terms.lateMs;
      this.#terms.onLate?.();
    }
    return this.extend(now, ends, Number.NEGATIVE_INFINITY);
  }

  /** The grantor's own lease ends at `ends` now: the length of this one from the last request on, 0: not worth telling. */
  extend(now: number, ends: number, worth: number = this.#terms.leaseMs * worthShare): number {
    const until = Math.min(ends, this.#askedAt + leaseMsFor(this.#terms.leaseMs, this.roundTripMs));
    const ms = Math.floor(until - this.#askedAt);
    if (!this.#welcome || ends <= now || ms < 1 || until < this.#granted + worth) return 0;
    this.#granted = Math.max(this.#granted, until);
    this.until = Math.max(this.until, until);
    return ms;
  }
}
