// What a running node tells and does when it is asked over its control socket. `startNode`
// implements it; `commands.ts` turns it into text and JSON.
import type { AuthAdmin } from '#auth/admin.js';
import type { EvacuationOptions, EvacuationStatus } from '#broker/evacuation.js';
import type { ShardStatus } from '#db/api.js';

export interface NodeStatus {
  /** `core1@127.0.0.1`. */
  readonly node: string;
  readonly role: 'core' | 'replicant';
  readonly version: string;
  readonly state: 'starting' | 'running' | 'stopping';
  /** Persistent sessions on its disk; absent when they live in memory only. */
  readonly durableSessions?: { readonly state: 'ok' | 'failed' | 'full' | 'restoring'; readonly sessions: number; readonly diskBytes: number };
  /** How short its memory is, `normal` to `full`; absent where nobody looks. */
  readonly overload?: { readonly level: string; readonly usedBytes: number; readonly watermarkBytes: number };
}

export interface MemberStatus {
  readonly name: string;
  readonly role: 'core' | 'replicant';
}

export interface ClusterStatus {
  readonly clusterName: string;
  /** Empty before the cluster has formed. */
  readonly clusterId: string;
  readonly running: readonly MemberStatus[];
  /** Members that are not running, replicants included until they are forgotten. */
  readonly stopped: readonly MemberStatus[];
}

export interface RlogStatus {
  readonly node: string;
  readonly role: 'core' | 'replicant';
  readonly shards: readonly ShardStatus[];
  /** Names of the shards whose copy on this node is in service. */
  readonly inSync: readonly string[];
}

/** Fields as in the HTTP API's `/clients`: `clientid`, `username`, `node`, `connected`, … */
export interface ClientInfo {
  readonly clientid: string;
  readonly [field: string]: string | number | boolean | null;
}

export interface RouteInfo {
  /** A topic filter. */
  readonly topic: string;
  readonly node: string;
}

export interface ListenerInfo {
  /** `tcp:default`. */
  readonly id: string;
  /** `0.0.0.0:1883`. */
  readonly bind: string;
  readonly running: boolean;
  readonly connections: number;
  /** Infinity: no limit. */
  readonly maxConnections: number;
  readonly proxyProtocol: boolean;
  /** End of the certificate in use, in milliseconds since 1970. */
  readonly certificateEnds: number | undefined;
}

export type ListenerAction = 'start' | 'stop' | 'restart' | 'reload';

/** Each resolves with why it cannot be, undefined when it is done. */
export interface ClusterActions {
  /** `NODE@HOST[:PORT]` or `HOST:PORT` of a node of the cluster to come into. */
  join(node: string): Promise<string | undefined>;
  /** This node goes, for good. */
  leave(): Promise<string | undefined>;
  /** Another one, which does not come back, is taken out. */
  forceLeave(name: string): Promise<string | undefined>;
  /** A replicant becomes a core. */
  promote(name: string): Promise<string | undefined>;
}

/** Fields as in EMQX's `/mqtt/delayed/messages`. */
export interface DelayedInfo {
  readonly msgid: string;
  readonly topic: string;
  readonly qos: number;
  readonly retain: boolean;
  readonly from_clientid: string;
  readonly expected_at: string;
  /** Seconds, by this node's clock. */
  readonly delayed_remaining: number;
  readonly payload_bytes: number;
}

export interface DelayedActions {
  count(): number;
  /** 0: no limit. */
  readonly max: number;
  /** At most `limit`, in the order in which they are due. */
  list(limit: number): readonly DelayedInfo[];
  /** `payload` in base64; null: too large to be shown. */
  show(msgid: string): (DelayedInfo & { readonly payload: string | null }) | undefined;
  /** Why it could not be, undefined when it is gone. */
  delete(msgid: string): Promise<string | undefined>;
}

export interface ExclusiveActions {
  list(limit: number): readonly { readonly topic: string; readonly clientid: string }[];
  /** Takes it from its client. Why it could not be, undefined when it is free. */
  delete(topic: string): Promise<string | undefined>;
}

/** Fields as in EMQX's `/subscriptions`. */
export interface SubscriptionRow {
  readonly clientid: string;
  readonly topic: string;
  readonly qos: number;
  readonly nl: 0 | 1;
  readonly rap: 0 | 1;
  readonly rh: number;
}

export interface EngineActions {
  /** Of this node, at most `limit`; of one client or of all. */
  subscriptions(limit: number, clientid: string | undefined): readonly SubscriptionRow[];
  readonly retained: {
    count(): number;
    /** At most `limit` topic names. */
    topics(limit: number): readonly string[];
    /** Deletes what is retained under the name. Why it could not be, undefined when it is gone. */
    clean(topic: string): Promise<string | undefined>;
  };
  /** As under `$SYS/brokers/NODE`, with points. */
  numbers(kind: 'stats' | 'metrics'): readonly (readonly [string, number])[];
  about(): Readonly<Record<string, string>>;
}

export interface EvacuationActions {
  /** Why it cannot be; undefined: it has begun. */
  start(options: Partial<EvacuationOptions>): string | undefined;
  /** False: there was none. */
  stop(): boolean;
  /** Undefined: this node stays. */
  status(): EvacuationStatus | undefined;
}

export interface AuthzActions {
  /** Forgets cached verdicts, of one client or of all. The names of nodes that did not answer. */
  clean(where: 'here' | 'everywhere', clientId: string | undefined): Promise<readonly string[]>;
}

export interface CtlHandlers {
  readonly evacuation?: EvacuationActions;
  readonly authz?: AuthzActions;
  /** Messages that wait for their time; absent: `$delayed/…` are names like any other. */
  readonly delayed?: DelayedActions | undefined;
  readonly exclusive?: ExclusiveActions;
  /** What the broker has. */
  readonly engine?: EngineActions;
  /** Users, rules of access and bans. */
  readonly authAdmin?: AuthAdmin;
  /** Who makes up the cluster. */
  readonly cluster?: ClusterActions;
  status(): NodeStatus;
  clusterStatus(): ClusterStatus | Promise<ClusterStatus>;
  rlogStatus(): RlogStatus;
  /** At most `limit`, in any stable order. */
  clientsList(limit: number): readonly ClientInfo[] | Promise<readonly ClientInfo[]>;
  clientsShow(clientid: string): ClientInfo | undefined | Promise<ClientInfo | undefined>;
  /** False when there is no such client. */
  clientsKick(clientid: string): boolean | Promise<boolean>;
  listeners(): readonly ListenerInfo[];
  /** What was done, or why not, in a sentence; undefined: there is no such listener. */
  listenerAction(action: ListenerAction, id: string): Promise<{ readonly ok: boolean; readonly text: string } | undefined>;
  /** Reads the certificates of all listeners and of the cluster port again. */
  reloadCertificates(): { readonly ok: boolean; readonly text: string };
  /** At most `limit`, in key order. */
  topicsList(limit: number): readonly RouteInfo[] | Promise<readonly RouteInfo[]>;
}
