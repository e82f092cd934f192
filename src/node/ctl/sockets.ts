// Where control sockets are, and which nodes run on this machine. A node's socket is `ctl.sock` in its
// data directory; a path too long for the operating system gets a short stand-in. Every node that
// serves one leaves a note in a folder of this user, so that `ctl` finds it wherever its data is.
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import { dirname, join, resolve } from 'node:path';

/** `sun_path` is 104 bytes on macOS and 108 on Linux, its end included. */
const socketPathBytesMax = 100;

export interface LocalNode {
  /** `core1@127.0.0.1`. */
  readonly name: string;
  readonly dataDir: string;
  readonly socketPath: string;
}

/** The path to bind and dial for a data directory's `ctl.sock`. */
export function ctlSocketPath(dataDir: string): string {
  return bindable(join(resolve(dataDir), 'ctl.sock'));
}

/** The path itself where the operating system takes it, else the same short one for the same path. */
export function bindable(socketPath: string): string {
  const path = resolve(socketPath);
  return Buffer.byteLength(path) <= socketPathBytesMax ? path : join(noteDir(), `${digest(path)}.sock`);
}

/** Notes that the node serves `socketPath`; gives the function that takes the note back. */
export function announce(name: string, socketPath: string): () => void {
  const note = join(noteDir(), `${digest(resolve(socketPath))}.json`);
  const node: LocalNode = { name, dataDir: dirname(resolve(socketPath)), socketPath: bindable(socketPath) };
  mkdirSync(noteDir(), { recursive: true, mode: 0o700 });
  writeFileSync(note, JSON.stringify(node), { mode: 0o600 });
  return () => rmSync(note, { force: true });
}

/** Nodes that left a note. Killed nodes leave theirs behind: whoever asks must also dial. */
export function announced(): LocalNode[] {
  let names: string[];
  try {
    names = readdirSync(noteDir()).filter((n) => n.endsWith('.json'));
  } catch {
    return [];
  }
  return names.flatMap((name) => readNote(join(noteDir(), name))).sort((a, b) => (a.name < b.name ? -1 : 1));
}

function readNote(path: string): LocalNode[] {
  try {
    const note: unknown = JSON.parse(readFileSync(path, 'utf8'));
    if (typeof note !== 'object' || note === null) return [];
    const { name, dataDir, socketPath } = note as Partial<Record<keyof LocalNode, unknown>>;
    return typeof name === 'string' && typeof dataDir === 'string' && typeof socketPath === 'string' ? [{ name, dataDir, socketPath }] : [];
  } catch {
    return [];
  }
}

/** Takes back the note of a node that no longer answers. */
export function forget(node: LocalNode): void {
  rmSync(join(noteDir(), `${digest(join(node.dataDir, 'ctl.sock'))}.json`), { force: true });
}

function noteDir(): string {
  return process.env.STARMESH_RUN_DIR ?? join(process.env.XDG_RUNTIME_DIR ?? tmpdir(), `starmesh-${userInfo().username}`);
}

function digest(path: string): string {
  return createHash('sha256').update(path).digest('hex').slice(0, 32);
}
