// The broker's counters, made once: names as EMQX has them (`emqx_*`), our own as `starmesh_*`. Hot
// paths write `metrics.x.value++`.
import type { Counter, Metrics } from '#env/metrics.js';
import type { SessionCounters } from '#session/counters.js';

export class BrokerMetrics implements SessionCounters {
  // Messages in.
  readonly received: Counter;
  readonly receivedQos0: Counter;
  readonly receivedQos1: Counter;
  readonly receivedQos2: Counter;
  readonly published: Counter;
  readonly forwarded: Counter;
  readonly retainedStored: Counter;
  readonly retainedRefused: Counter;
  readonly delivered: Counter;
  readonly messagesDropped: Counter;
  readonly droppedNoSubscribers: Counter;
  readonly publishDenied: Counter;
  // Deliveries.
  readonly sent: Counter;
  readonly sentQos0: Counter;
  readonly sentQos1: Counter;
  readonly sentQos2: Counter;
  readonly acked: Counter;
  readonly dropped: Counter;
  readonly droppedQueueFull: Counter;
  readonly droppedQos0: Counter;
  readonly droppedExpired: Counter;
  readonly droppedTooLarge: Counter;
  readonly droppedNoLocal: Counter;
  readonly pubackMissed: Counter;
  readonly pubrecMissed: Counter;
  readonly pubrelMissed: Counter;
  readonly pubcompMissed: Counter;
  readonly publishInUse: Counter;
  // Clients and sessions.
  readonly clientConnect: Counter;
  readonly clientConnected: Counter;
  readonly clientDisconnected: Counter;
  readonly connackAuthError: Counter;
  readonly clientSubscribe: Counter;
  readonly clientUnsubscribe: Counter;
  readonly sessionCreated: Counter;
  readonly sessionResumed: Counter;
  readonly sessionTakenover: Counter;
  readonly sessionOfOther: Counter;
  readonly sessionDiscarded: Counter;
  readonly sessionTerminated: Counter;
  readonly sessionsRecovered: Counter;
  readonly willsPublished: Counter;
  readonly willsTooLong: Counter;
  // Bounds that were hit.
  readonly subscribeFailed: Counter;
  readonly acceptedWithoutQuorum: Counter;
  readonly refusedWithoutQuorum: Counter;
  readonly publishersPaused: Counter;
  readonly holdBackDropped: Counter;
  readonly overtaken: Counter;
  readonly outcomesLost: Counter;

  constructor(metrics: Metrics) {
    const c = (name: string, help: string): Counter => metrics.counter(name, help);
    this.received = c('emqx_messages_received', 'PUBLISH packets from clients');
    this.receivedQos0 = c('emqx_messages_qos0_received', 'QoS 0 PUBLISH packets from clients');
    this.receivedQos1 = c('emqx_messages_qos1_received', 'QoS 1 PUBLISH packets from clients');
    this.receivedQos2 = c('emqx_messages_qos2_received', 'QoS 2 PUBLISH packets from clients');
    this.published = c('emqx_messages_publish', 'messages routed, the broker its own included');
    this.forwarded = c('emqx_messages_forward', 'messages handed to at least one other node');
    this.retainedStored = c('emqx_messages_retained', 'retained messages handed to the store');
    this.retainedRefused = c('starmesh_retained_refused', 'retained messages that the store did not take');
    this.delivered = c('emqx_messages_delivered', 'messages handed to sessions');
    this.messagesDropped = c('emqx_messages_dropped', 'messages that reached nobody');
    this.droppedNoSubscribers = c('emqx_messages_dropped_no_subscribers', 'messages that nobody subscribed to');
    this.publishDenied = c('emqx_packets_publish_auth_error', 'PUBLISH packets that authorization refused');
    this.sent = c('emqx_messages_sent', 'PUBLISH packets to clients');
    this.sentQos0 = c('emqx_messages_qos0_sent', 'QoS 0 PUBLISH packets to clients');
    this.sentQos1 = c('emqx_messages_qos1_sent', 'QoS 1 PUBLISH packets to clients');
    this.sentQos2 = c('emqx_messages_qos2_sent', 'QoS 2 PUBLISH packets to clients');
    this.acked = c('emqx_messages_acked', 'deliveries completed by clients');
    this.dropped = c('emqx_delivery_dropped', 'deliveries dropped, all causes');
    this.droppedQueueFull = c('emqx_delivery_dropped_queue_full', 'deliveries dropped because a queue was full');
    this.droppedQos0 = c('emqx_delivery_dropped_qos0_msg', 'QoS 0 deliveries dropped because the client is away or does not read');
    this.droppedExpired = c('emqx_delivery_dropped_expired', 'deliveries dropped because the message expired');
    this.droppedTooLarge = c('emqx_delivery_dropped_too_large', 'deliveries dropped because the client takes no packet of that size');
    this.droppedNoLocal = c('emqx_delivery_dropped_no_local', 'deliveries left out by no-local');
    this.pubackMissed = c('emqx_packets_puback_missed', 'PUBACK packets with an unknown identifier');
    this.pubrecMissed = c('emqx_packets_pubrec_missed', 'PUBREC packets with an unknown identifier');
    this.pubrelMissed = c('emqx_packets_pubrel_missed', 'PUBREL packets with an unknown identifier');
    this.pubcompMissed = c('emqx_packets_pubcomp_missed', 'PUBCOMP packets with an unknown identifier');
    this.publishInUse = c('emqx_packets_publish_inuse', 'QoS 2 PUBLISH packets whose identifier was in use');
    this.clientConnect = c('emqx_client_connect', 'CONNECT packets');
    this.clientConnected = c('emqx_client_connected', 'clients accepted');
    this.clientDisconnected = c('emqx_client_disconnected', 'connections of accepted clients that ended');
    this.connackAuthError = c('emqx_packets_connack_auth_error', 'CONNACK packets that refuse by authentication or authorization');
    this.clientSubscribe = c('emqx_client_subscribe', 'topic filters asked for in SUBSCRIBE');
    this.clientUnsubscribe = c('emqx_client_unsubscribe', 'topic filters in UNSUBSCRIBE');
    this.sessionCreated = c('emqx_session_created', 'sessions begun');
    this.sessionResumed = c('emqx_session_resumed', 'sessions continued by their client');
    this.sessionTakenover = c('emqx_session_takenover', 'connections displaced by a new one that continues the session');
    this.sessionOfOther = c('starmesh_sessions_of_other_users', 'sessions not continued because another user had made them');
    this.sessionDiscarded = c('emqx_session_discarded', 'sessions ended by a new one of the client');
    this.sessionTerminated = c('emqx_session_terminated', 'sessions ended');
    this.sessionsRecovered = c('starmesh_sessions_recovered_total', 'persistent sessions that came back with this node and are still their clients’');
    this.willsPublished = c('starmesh_wills_published', 'wills published');
    this.willsTooLong = c('starmesh_wills_too_long', 'wills that stand with the node of their client only, because they are too long');
    this.subscribeFailed = c('emqx_packets_subscribe_error', 'topic filters refused because their route could not be written');
    this.acceptedWithoutQuorum = c('starmesh_connect_without_quorum', 'clients accepted while no quorum answered');
    this.refusedWithoutQuorum = c('starmesh_connect_refused_without_quorum', 'clients refused while no quorum answered');
    this.publishersPaused = c('starmesh_publishers_paused', 'times a publisher was held back');
    this.outcomesLost = c('starmesh_takeover_outcomes_lost_total', 'QoS 2 messages acknowledged whose first node was lost while their session moved');
    this.holdBackDropped = c('starmesh_takeover_held_dropped', 'messages dropped because a session that moves between nodes held back too many');
    this.overtaken = c(
      'starmesh_takeover_overtaken',
      'QoS 0 messages dropped because a younger one reached a session that moved between nodes before them',
    );
  }
}
