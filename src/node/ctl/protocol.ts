// The control socket's protocol: one JSON object a line. Request `{"cmd": ["rlog", "status"]}`;
// reply `{"ok": true, "text": "…", "data": …}`. A connection may ask several times, one at a time.

/** One request line. */
export const requestBytesMax: number = 65_536;
/** One reply line: ten thousand rows of a list fit many times over. */
export const replyBytesMax: number = 64 * 1_048_576;

export interface CtlRequest {
  readonly cmd: readonly string[];
}

/** The request in a line, or undefined when it is none. */
export function parseRequest(line: string): CtlRequest | undefined {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null || !('cmd' in value)) return undefined;
  const { cmd } = value;
  return Array.isArray(cmd) && cmd.every((word) => typeof word === 'string') ? { cmd } : undefined;
}

/** Gathers chunks into lines; a line longer than `bytesMax` is reported once and nothing follows. */
export class Lines {
  readonly #bytesMax: number;
  #pending: Uint8Array[] = [];
  #pendingBytes = 0;
  #tooLong = false;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  get tooLong(): boolean {
    return this.#tooLong;
  }

  /** The lines that `chunk` completes, without their ends. */
  push(chunk: Uint8Array): string[] {
    const lines: string[] = [];
    let from = 0;
    for (let end = chunk.indexOf(10); end >= 0 && !this.#tooLong; end = chunk.indexOf(10, from)) {
      this.#keep(chunk.subarray(from, end));
      if (this.#tooLong) break;
      lines.push(Buffer.concat(this.#pending).toString('utf8'));
      this.#pending = [];
      this.#pendingBytes = 0;
      from = end + 1;
    }
    if (!this.#tooLong) this.#keep(chunk.subarray(from));
    return lines;
  }

  #keep(part: Uint8Array): void {
    this.#pendingBytes += part.length;
    if (this.#pendingBytes > this.#bytesMax) {
      this.#tooLong = true;
      this.#pending = [];
    } else if (part.length > 0) this.#pending.push(part);
  }
}
