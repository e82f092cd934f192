// The classes of attacks, what counts as passed, and why some do not apply. `docs.test.ts` holds
// docs/attacks.md to this table and to the tables of cases.

export interface AttackClass {
  readonly title: string;
  readonly criterion: string;
  /** Where it does not apply: why. */
  readonly because?: string;
  /** Where other tests fire it. */
  readonly elsewhere?: readonly string[];
}

type Numbered<Letter extends string, N extends number> = `${Letter}${N}`;

export type ClassId =
  | Numbered<'A', 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | 10 | 11 | 12 | 13 | 14>
  | Numbered<'B', 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | 10 | 11 | 12 | 13 | 14 | 15 | 16 | 17 | 18>
  | Numbered<'C', 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | 10 | 11 | 12>
  | Numbered<'D', 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | 10>;

export const classes: Readonly<Record<ClassId, AttackClass>> = {
  A1: { title: 'Huge Remaining Length without a body', criterion: 'refused at the header; nothing is kept for what was only announced' },
  A2: { title: 'First packet is not CONNECT', criterion: 'closed without an answer; no effect' },
  A3: { title: 'Remaining Length of five bytes, overlong, in pieces', criterion: '0x81 and closed; pieces make no difference' },
  A4: {
    title: 'Slow CONNECT, half open, stalled upgrade',
    criterion: 'closed at one deadline that nothing extends; honest clients get in meanwhile',
  },
  A5: { title: 'Leaks by failed and malformed CONNECTs', criterion: 'memory as before after thousands' },
  A6: { title: 'Failed authentication with side effects', criterion: 'no will, no takeover, no lost session' },
  A7: { title: 'User name without password, empty or missing', criterion: '0x86 or 0x87' },
  A8: {
    title: 'Authentication service fails',
    criterion: 'nobody gets in for it',
    elsewhere: ['test/auth/cluster.test.ts', 'test/auth/access.test.ts'],
  },
  A9: { title: 'Another protocol on the port', criterion: 'clean close, no effect' },
  A10: { title: 'WebSocket: upgrades, frames, floods', criterion: 'HTTP error or close code of RFC 6455; no effect' },
  A11: { title: 'PROXY header from a stranger', criterion: 'without the option: a wrong first packet' },
  A12: {
    title: 'TLS: old versions, renegotiation, junk, plain text',
    criterion: 'no handshake, clean close',
    elsewhere: ['test/listeners/tls.test.ts', 'test/listeners/hostile.test.ts'],
  },
  A13: { title: 'Strings that are not UTF-8, U+0000, control characters', criterion: '0x81; what is well-formed is delivered unchanged' },
  A14: { title: 'Storm of one client id', criterion: 'one owner, one session, the others 0x8E or 0x89' },
  B1: { title: 'Deep topics', criterion: '0x8F, 0x90; fast' },
  B2: { title: 'Thousands of user properties', criterion: 'handled in linear time, or 0x95' },
  B3: { title: 'Very many filters, overlapping wildcards', criterion: 'one message once per client; quick match; all gone with the session' },
  B4: { title: 'QoS 2 identifiers never released', criterion: '0x93 at Receive Maximum' },
  B5: { title: 'Acknowledgements of nothing', criterion: 'no quota is gained' },
  B6: { title: 'Sessions, queues and retained messages that fill', criterion: 'bounded, the rest dropped and counted' },
  B7: { title: 'Will abuse', criterion: 'right code; a will is sent once or never' },
  B8: { title: 'Packets out of order and against the rules', criterion: 'the connection is closed with the right code' },
  B9: { title: 'An exception inside', criterion: 'costs one connection at most' },
  B10: { title: 'Names that mean something to JavaScript', criterion: 'are names like any other' },
  B11: { title: 'Worst cases of regular expressions', criterion: 'linear time' },
  B12: { title: 'Keys that collide', criterion: 'linear time' },
  B13: { title: 'Explosion of metric names, forged log lines', criterion: 'labels are of a fixed set; one line per event' },
  B14: { title: 'Headers of tracing and HTTP', criterion: '431 or closed' },
  B15: { title: 'Intervals beyond timers', criterion: 'nothing fires early' },
  B16: { title: 'Loops of bridges', criterion: '', because: 'there are no bridges; what one node forwards, the next one never forwards again' },
  B17: { title: 'Slow consumer', criterion: 'QoS 0 dropped, the rest queued within bounds; the others notice nothing' },
  B18: { title: 'Half closed, reset, FIN within a packet', criterion: 'connection and session are gone at once' },
  C1: { title: 'Wildcards in client id or user name', criterion: 'placeholders are values: no level matches' },
  C2: { title: 'Regular expressions in client id or user name', criterion: 'never read as a pattern' },
  C3: { title: 'Will without right', criterion: 'refused at CONNECT, judged again when it is sent' },
  C4: { title: 'Retained messages without right', criterion: 'no right, no subscription, no message' },
  C5: { title: 'Delivery after the right was taken', criterion: 'nothing more after `ctl clients kick`' },
  C6: { title: 'Shared and overlapping filters against a denial', criterion: 'denied by what they match' },
  C7: { title: 'Reserved topics', criterion: 'wildcards do not reach them; rules hold for them' },
  C8: { title: 'Session of another user by its client id', criterion: 'its content is not handed over' },
  C9: {
    title: 'Between tenants and listeners',
    criterion: '',
    because: 'there are no tenants, virtual hosts or mount points; all listeners serve one name space',
  },
  C10: { title: 'Rewriting that skips rules', criterion: '', because: 'topics are never rewritten' },
  C11: { title: 'Rules and router see different topics', criterion: 'character by character on both sides' },
  C12: { title: 'Verdict or account kept too long', criterion: 'a change is in force when its command returns' },
  D1: {
    title: 'Default credentials',
    criterion: '',
    because: 'there are no accounts of operators: the HTTP port changes nothing, the command line uses a socket that only the owner can open',
  },
  D2: { title: 'Cluster port without proof', criterion: 'closed, told nothing' },
  D3: { title: 'Malformed cluster frames', criterion: 'closed; the node serves on' },
  D4: { title: 'Secrets in pages, logs and messages', criterion: 'planted ones are found nowhere' },
  D5: {
    title: 'Requests forged by the server, path traversal',
    criterion: '',
    because: 'nothing is uploaded, unpacked or fetched at the wish of a client; only operators name addresses and files',
  },
  D6: { title: 'HTTP: methods, roles, scripts', criterion: 'nothing can be changed; no markup comes back' },
  D7: { title: 'HTTP: bodies and pages', criterion: '4xx, bounded' },
  D8: { title: 'Data files that others can read', criterion: 'nobody else can' },
  D9: {
    title: 'Damaged files at start',
    criterion: 'one sentence, no service, nothing overwritten',
    elsewhere: ['src/store/wal.test.ts', 'test/cluster/disk.test.ts'],
  },
  D10: { title: 'A malicious member', criterion: '', because: 'who knows the cookie is trusted, as in Raft; strangers are D2 and D3' },
};
