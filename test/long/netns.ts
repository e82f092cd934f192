// Hosts of their own for processes: network namespaces on one switch, a bridge in a namespace of its
// own, so that nothing of it touches the machine's network. A way from one host to another is cut by
// giving the sender a wrong hardware address for the receiver: packets are then lost in silence, in that
// direction alone, as on a broken network. A link can also be taken down, which the host notices.
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';

const subnet = '10.213.0';
/** Nobody's: the switch floods it, and nobody takes it. */
const nobody = '02:00:00:00:ff:ff';

function ip(...args: string[]): void {
  const run = spawnSync('ip', args, { encoding: 'utf8' });
  if (run.status !== 0) throw new Error(`ip ${args.join(' ')}: ${run.stderr}${run.error?.message ?? ''}`);
}

export class NetLab {
  readonly #id: string;
  readonly #hosts: number;
  readonly #made: string[] = [];
  readonly #atExit = (): void => this.close();

  private constructor(id: string, hosts: number) {
    this.#id = id;
    this.#hosts = hosts;
    // An interrupted run leaves nothing behind either.
    process.once('exit', this.#atExit);
  }

  /** Throws where that is not allowed, with nothing left behind. */
  static make(hosts: number): NetLab {
    const lab = new NetLab(`sm${randomBytes(3).toString('hex')}`, hosts);
    try {
      lab.#make();
    } catch (error) {
      lab.close();
      throw error;
    }
    return lab;
  }

  #make(): void {
    const wires = this.#namespace('w');
    ip('-n', wires, 'link', 'add', 'switch', 'type', 'bridge');
    ip('-n', wires, 'link', 'set', 'switch', 'up');
    for (let i = 0; i < this.#hosts; i++) {
      const ns = this.#namespace(String(i));
      ip('-n', wires, 'link', 'add', `port${i}`, 'type', 'veth', 'peer', 'name', 'eth0', 'address', hardware(i), 'netns', ns);
      ip('-n', wires, 'link', 'set', `port${i}`, 'master', 'switch', 'up');
      ip('-n', ns, 'link', 'set', 'lo', 'up');
      ip('-n', ns, 'address', 'add', `${this.host(i)}/24`, 'dev', 'eth0');
      ip('-n', ns, 'link', 'set', 'eth0', 'up');
    }
    this.heal();
  }

  #namespace(suffix: string): string {
    const name = this.#name(suffix);
    ip('netns', 'add', name);
    this.#made.push(name);
    return name;
  }

  #name(suffix: string): string {
    return `${this.#id}-${suffix}`;
  }

  host(i: number): string {
    return `${subnet}.${i + 1}`;
  }

  /** What runs a process on the host, in its own place. */
  under(i: number): string[] {
    return ['ip', 'netns', 'exec', this.#name(String(i))];
  }

  /** What `from` sends to `to` is lost. */
  cutOneWay(from: number, to: number): void {
    this.#neighbour(from, to, nobody);
  }

  /** Nothing passes between the two. */
  cut(a: number, b: number): void {
    this.cutOneWay(a, b);
    this.cutOneWay(b, a);
  }

  /** Nothing passes from one group to another. */
  split(...groups: readonly (readonly number[])[]): void {
    for (const [g, group] of groups.entries()) for (const other of groups.slice(g + 1)) for (const a of group) for (const b of other) this.cut(a, b);
  }

  /** Takes the host's cable out, or puts it in again. */
  link(i: number, state: 'up' | 'down'): void {
    ip('-n', this.#name('w'), 'link', 'set', `port${i}`, state);
  }

  /** Everybody reaches everybody; cables in. */
  heal(): void {
    for (let a = 0; a < this.#hosts; a++) {
      this.link(a, 'up');
      for (let b = 0; b < this.#hosts; b++) if (a !== b) this.#neighbour(a, b, hardware(b));
    }
  }

  #neighbour(of: number, to: number, address: string): void {
    ip('-n', this.#name(String(of)), 'neigh', 'replace', this.host(to), 'lladdr', address, 'dev', 'eth0', 'nud', 'permanent');
  }

  /** Can be called again. Processes on the hosts must have ended. */
  close(): void {
    process.removeListener('exit', this.#atExit);
    for (const name of this.#made.splice(0)) spawnSync('ip', ['netns', 'del', name]);
  }
}

function hardware(i: number): string {
  return `02:00:00:00:00:${(i + 1).toString(16).padStart(2, '0')}`;
}
