// Builds of before, for rolling upgrades (test/long/old-build.json), taken from the history of the checkout and compiled in a
// directory of their own, with the packages of this one. For the library: the last commit that spoke the version of the
// protocol before this build's, to be changed with `protocolVersionMax`. For the broker: the last one of the level before
// this build's (src/cluster/level.ts). STARMESH_OLD_BUILD names a checkout that is built already, of a release for instance,
// to be used instead.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const checkout = fileURLToPath(new URL('../../../', import.meta.url));
/** What runs a node of the build, from its checkout. */
const nodePrograms = { library: 'dist/test/library/register-node.js', broker: 'bin/starmesh.js' } as const;
const archiveBytesMax = 1024 * 1024 * 1024;

export interface OldBuild {
  readonly what: string;
  /** Runs a node, as register-node.ts or bin/starmesh.js of this build does. */
  readonly program: string;
  remove(): void;
}

function run(command: string, args: readonly string[], options: { readonly cwd: string; readonly input?: Buffer }): Buffer {
  const { status, stdout, stderr, error } = spawnSync(command, args, { ...options, maxBuffer: archiveBytesMax });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ${error?.message ?? stderr.toString().slice(-2_000)}`);
  return stdout;
}

export function oldBuild(of: keyof typeof nodePrograms): OldBuild {
  const nodeProgram = nodePrograms[of];
  const given = process.env.STARMESH_OLD_BUILD;
  if (given !== undefined && given !== '') {
    const program = join(given, nodeProgram);
    if (!existsSync(program)) throw new Error(`STARMESH_OLD_BUILD: there is no ${program}; compile that checkout first`);
    return { what: given, program, remove: () => {} };
  }
  const builds = JSON.parse(readFileSync(join(checkout, 'test/long/old-build.json'), 'utf8')) as Record<typeof of, { commit: string; what: string }>;
  const { commit, what } = builds[of];
  const dir = mkdtempSync(join(tmpdir(), 'starmesh-old-'));
  const remove = (): void => rmSync(dir, { recursive: true, force: true, maxRetries: 5 });
  try {
    let archive: Buffer;
    try {
      archive = run('git', ['archive', commit], { cwd: checkout });
    } catch (error) {
      throw new Error(`this suite needs the whole history of the checkout, not a shallow copy, or STARMESH_OLD_BUILD: ${(error as Error).message}`);
    }
    run('tar', ['-x'], { cwd: dir, input: archive });
    symlinkSync(join(checkout, 'node_modules'), join(dir, 'node_modules'));
    run(process.execPath, ['-e', "import('./tools/build.mjs').then((m) => m.build(process.cwd()))"], { cwd: dir });
    return { what: `${commit.slice(0, 10)}, ${what}`, program: join(dir, nodeProgram), remove };
  } catch (error) {
    remove();
    throw error;
  }
}
