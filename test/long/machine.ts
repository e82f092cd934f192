// What this machine lets a test do, found out by trying; the reason why not, for the runner to show.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { NetLab } from './netns.js';

/** False, or why processes cannot be traced here. */
export function withoutStrace(): string | false {
  const tried = spawnSync('strace', ['-D', '-f', '-qq', '-o', '/dev/null', '-e', 'inject=fsync:signal=SIGKILL:when=1', 'true']);
  if (tried.error !== undefined) return 'strace is not installed';
  return tried.status === 0 ? false : 'strace may not trace or inject here';
}

/** False, or why there can be no network namespaces here. */
export function withoutNamespaces(): string | false {
  if (spawnSync('ip', ['-V']).error !== undefined) return 'ip (iproute2) is not installed';
  let lab: NetLab | undefined;
  try {
    lab = NetLab.make(2);
    return false;
  } catch {
    return 'no permission to make network namespaces';
  } finally {
    lab?.close();
  }
}

/** False, or why there can be no small file systems here. */
export function withoutMounts(): string | false {
  const probe = mkdtempSync(join(tmpdir(), 'starmesh-mount-'));
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', probe]).status === 0;
  if (mounted) spawnSync('umount', [probe]);
  rmSync(probe, { recursive: true });
  return mounted ? false : 'no permission to mount';
}

const stallTickMs = 20;

/** How late a timer of this process came at most until `work` was done, in ms: for so long the machine had no time for anybody. */
export async function longestStall(work: Promise<unknown>): Promise<number> {
  let stalledMs = 0;
  let last = performance.now();
  const timer = setInterval(() => {
    const now = performance.now();
    stalledMs = Math.max(stalledMs, now - last - stallTickMs);
    last = now;
  }, stallTickMs);
  try {
    await work;
  } finally {
    clearInterval(timer);
  }
  return Math.round(stalledMs);
}
