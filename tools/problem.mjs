// A failure that the user can mend, told in one sentence and without a stack.

export class Problem extends Error {
  name = 'Problem';
}

const refusals = {
  EACCES: 'no permission to write there; give this user the folder, or use a copy of the project that it owns',
  EPERM: 'no permission to write there; give this user the folder, or use a copy of the project that it owns',
  EROFS: 'the file system is read-only; use a copy of the project on one that can be written',
  ENOSPC: 'the disk is full; make room and start again',
  EDQUOT: 'the disk quota is used up; make room and start again',
};

/** A Problem for the errors of the file system that users can mend, else the error itself. */
export function explain(error, what) {
  const why = refusals[error?.code];
  if (why === undefined) return error;
  return new Problem(`${what}${error.path === undefined ? '' : ` (${error.path})`}: ${why}.`);
}
