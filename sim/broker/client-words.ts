// What a node says to a simulated client that it lets go or whose message it refuses: whether it had a reason to say that.
// client.ts and its parts ask; nodes know whether they give their clients away, and how short of memory they were.
import { ReasonCode } from '#mqtt/reason-code.js';
import type { ClientHost } from './client-host.js';

/** Told to go elsewhere: by a node that gives its clients away, and as it should. */
export function checkFarewell({ name, node, now, history }: ClientHost, reasonCode: number): void {
  if (reasonCode !== ReasonCode.useAnotherServer && reasonCode !== ReasonCode.serverMoved) return;
  const { farewell } = node ?? {};
  if (farewell === undefined || farewell.until < now || farewell.reasonCode !== reasonCode)
    history.violation(`${name} is told 0x${reasonCode.toString(16)} by ${node?.name}, which has no reason to`);
}

/** CONNACK 0x97: nobody new comes in where memory is short. */
export function checkTurnedAway({ name, node, now, history }: ClientHost, reasonCode: number, since: number): void {
  if (reasonCode === ReasonCode.quotaExceeded && node?.levels.reached(1, since, now) === false)
    history.violation(`${name} is not let in by ${node.name} for lack of memory, of which it had enough`);
}

/** PUBACK or PUBREC 0x97: some node had no memory for a session that would have had to wait, since the message was sent. */
export function checkRefusedMessage({ name, now, history }: ClientHost, reasonCode: number, sentAt: number, what: string): void {
  if (reasonCode !== ReasonCode.quotaExceeded || history.memoryFull(sentAt, now)) return;
  history.violation(`${what} of ${name}, sent at ${sentAt.toFixed(1)}, is refused with 0x97, and no node had full memory`);
}
