// What happens to messages at sessions, counted. `broker` hands in counters of `env`; hot paths write
// `counter.value++`.

export interface SessionCounter {
  value: number;
}

export interface SessionCounters {
  /** PUBLISH packets to clients. */
  readonly sent: SessionCounter;
  readonly sentQos0: SessionCounter;
  readonly sentQos1: SessionCounter;
  readonly sentQos2: SessionCounter;
  /** Deliveries completed by PUBACK or PUBCOMP. */
  readonly acked: SessionCounter;
  /** Acknowledgements whose packet identifier is not in use. */
  readonly pubackMissed: SessionCounter;
  readonly pubrecMissed: SessionCounter;
  readonly pubrelMissed: SessionCounter;
  readonly pubcompMissed: SessionCounter;
  /** QoS 2 PUBLISH packets whose identifier was in use: duplicates. */
  readonly publishInUse: SessionCounter;
  /** All dropped deliveries, then by cause. */
  readonly dropped: SessionCounter;
  readonly droppedQueueFull: SessionCounter;
  readonly droppedQos0: SessionCounter;
  readonly droppedExpired: SessionCounter;
  readonly droppedTooLarge: SessionCounter;
  readonly droppedNoLocal: SessionCounter;
}
