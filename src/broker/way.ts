// Where messages of a topic name go, remembered with the channel of their publisher: with a thousand of
// them that stay at a name each, every table that is asked is a look into cold memory. For names that a
// shared group gets; asked for by publish.ts. Invariant: a way is good while none of the tables it was made from
// has changed.
import type { PlaceMemo, PublisherPlace } from '#router/shared-picker.js';
import type { Channel } from '#session/channel.js';
import type { Subscription } from '#session/session.js';
import type { LocalSubscribers } from './local-subscribers.js';
import type { BrokerPorts, RemoteTarget } from './ports.js';
import type { Group, SharedDispatch } from './shared-dispatch.js';
import type { LocalGroup } from './shared-members.js';

/** What it needs of the core. */
export interface WayHost {
  readonly subscribers: LocalSubscribers;
  readonly shared: SharedDispatch;
  readonly ports: BrokerPorts;
}

export class Way implements PlaceMemo {
  place: PublisherPlace | undefined = undefined;
  readonly topicName: string;
  /** What had changed when it was made; NaN, which equals nothing, where that is not known. */
  readonly #changes: number;
  readonly groups: readonly Group[];
  /** This node's subscribers outside groups. */
  readonly locals: readonly Subscription[];
  readonly targets: readonly RemoteTarget[];

  /** If nobody but its members, who are all of this node, gets the message. */
  readonly group: Group | undefined;

  constructor(host: WayHost, topicName: string, groups: readonly Group[]) {
    this.topicName = topicName;
    this.#changes = changesOf(host);
    this.groups = groups;
    this.locals = host.subscribers.match(topicName);
    this.targets = host.ports.routes.match(topicName);
    const [first] = groups;
    const alone = groups.length === 1 && this.locals.length === 0 && this.targets.length === 0;
    this.group = alone && first?.local !== undefined && first.rows.length === 0 && !first.picker.sticky ? first : undefined;
  }

  /** Members of one group get it, all of them this node's and one of them with its client. */
  isOneGroupHere(): boolean {
    const { group } = this;
    return group !== undefined && (group.local as LocalGroup).here.length > 0;
  }

  isGood(host: WayHost, topicName: string): boolean {
    return this.topicName === topicName && this.#changes === changesOf(host);
  }
}

/** Grows with each change of any of the tables; NaN where that is not known. */
export function changesOf({ shared, subscribers, ports }: WayHost): number {
  return shared.changes + subscribers.changes + (ports.routes.changes ?? Number.NaN);
}

/** The one that is remembered, or one that will be; undefined: no group gets messages of that name. */
export function wayOf(host: WayHost, channel: Channel, topicName: string): Way | undefined {
  const { way } = channel;
  if (way instanceof Way && way.isGood(host, topicName)) return way;
  const groups = host.shared.match(topicName);
  if (groups.length === 0) return undefined;
  const made = new Way(host, topicName, groups);
  channel.way = made;
  return made;
}
