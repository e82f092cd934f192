// Errors as one sentence that says what to do.

const advice: Readonly<Record<string, string>> = {
  EACCES: 'this user has no permission; give it the folder or choose another with node.data_dir',
  EPERM: 'this user has no permission; give it the folder or choose another with node.data_dir',
  EROFS: 'the file system is read-only; choose another folder with node.data_dir',
  ENOSPC: 'the disk is full; make room and start again',
  EDQUOT: 'the disk quota is used up; make room and start again',
  ENOENT: 'there is no such file',
  EISDIR: 'it is a folder, not a file',
  EADDRINUSE: 'another program uses this port; stop it or choose another port',
  EADDRNOTAVAIL: 'this machine does not have this address',
  EMFILE: 'too many open files; raise the limit (ulimit -n)',
};

/** `/data/x: this user has no permission; …` for errors of the operating system, else the message. */
export function sentence(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { code, path } = error as NodeJS.ErrnoException;
  const known = code === undefined ? undefined : advice[code];
  if (known === undefined) return error.message;
  const { address, port } = error as { address?: string; port?: number };
  const where = path ?? (port === undefined ? undefined : `${address ?? ''}:${port}`);
  return where === undefined ? known : `${where}: ${known}`;
}
