/** Randomness. `os` seeds it from the machine and gives cryptographic bytes; the simulator from its seed. */
export interface Random {
  /** Uniform in [0, 1). */
  next(): number;
  /** Uniform integer in [0, limit). */
  int(limit: number): number;
  /** Unpredictable bytes (identities, challenges). */
  bytes(length: number): Uint8Array;
}
