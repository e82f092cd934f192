// What Node itself takes for the load `shared group, 1000 to 4`: reads every socket as the broker does, finds
// where a packet ends, and hands PUBLISHes to the subscribers in turn, written as the broker writes them.
// No topic is looked at, nobody is authorized, counted, timed or remembered. Argument: the port.
import { createServer, type Socket } from 'node:net';
import { RangeCopier } from '#base/copy-space.js';
import { SharedReads } from '#os/shared-read.js';

const earlyBytes = 8 * 1024;
const roomBytes = 64 * 1024;

interface Member {
  readonly socket: Socket;
  room: Uint8Array;
  from: number;
  to: number;
}

const lent = new RangeCopier();
const members: Member[] = [];
let next = 0;
let scheduled = false;

function write(member: Member): void {
  if (member.to === member.from) return;
  member.socket.write(member.room.subarray(member.from, member.to));
  member.from = member.to;
}

function flush(): void {
  scheduled = false;
  for (const member of members) write(member);
}

function pass(bytes: Uint8Array, start: number, end: number): void {
  const member = members[next];
  if (member === undefined) return;
  next = (next + 1) % members.length;
  if (member.to + end - start > member.room.length) {
    write(member);
    member.room = new Uint8Array(Math.max(roomBytes, end - start));
    member.from = 0;
    member.to = 0;
  }
  lent.copy(bytes, start, end, member.room, member.to);
  member.to += end - start;
  if (member.to - member.from >= earlyBytes) write(member);
  else if (!scheduled) {
    scheduled = true;
    setImmediate(flush);
  }
}

/** The load generator's packets are whole and shorter than 128 bytes, or the floor is none. */
function onLent(this: Socket, chunk: Uint8Array, length: number): boolean {
  for (let at = 0; at + 1 < length; ) {
    const end = at + 2 + (chunk[at + 1] as number);
    if (end > length) {
      this.destroy();
      return true;
    }
    const type = (chunk[at] as number) >> 4;
    if (type === 3) pass(chunk, at, end);
    else if (type === 1) this.write(Uint8Array.of(0x20, 2, 0, 0));
    else if (type === 8) {
      members.push({ socket: this, room: new Uint8Array(roomBytes), from: 0, to: 0 });
      this.write(Uint8Array.of(0x90, 3, chunk[at + 2] as number, chunk[at + 3] as number, 0));
    }
    at = end;
  }
  return true;
}

const reads = new SharedReads(() => {}, onLent);
createServer({ noDelay: true }, (socket) => {
  socket.on('error', () => {});
  if (!reads.share(socket)) throw new Error('this Node reads in another way');
}).listen(Number(process.argv[2]), '127.0.0.1');
