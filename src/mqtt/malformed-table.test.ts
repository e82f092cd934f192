// The table of what is refused: bytes, the rule they break, the reason code; and what `mqtt-packet` does
// with the same bytes, with the reason where it accepts them. Played by `malformed.test.ts`; `fuzz.test.ts`
// takes from here which disagreements are known. No test of its own.
import { ReasonCode } from './reason-code.js';

const { malformedPacket, protocolError, packetTooLarge, topicNameInvalid, topicAliasInvalid, unsupportedProtocolVersion } = ReasonCode;

/** c: from a client; s: from a server; the digit is the version. `c0`: before CONNECT. */
export type Side = 'c0' | 'c3' | 'c4' | 'c5' | 's4' | 's5';
/** What mqtt-packet does: refuses too, waits for more, or accepts because … */
export type Theirs = 'refuses' | 'waits' | `accepts: ${string}`;

const blind = 'accepts: it does not look';
const loose = 'accepts: it ignores what follows the last field';
const any = 'accepts: it takes any property in any packet';
const empty = 'accepts: it looks at the length of the packet, not of the payload';
const side = 'accepts: it does not know the direction';

export const rows: readonly [rule: string, Side, hex: string, code: number, message: string, Theirs][] = [
  // Fixed header.
  ['[MQTT-2.1.3-1] PINGREQ flags', 'c4', 'c1 00', malformedPacket, 'flags of the fixed header', 'refuses'],
  ['[MQTT-3.6.1-1] PUBREL flags 0000', 'c4', '60 02 0001', malformedPacket, 'flags of the fixed header', 'refuses'],
  ['[MQTT-3.8.1-1] SUBSCRIBE flags 0000', 'c4', '80 06 0001 0001 61 00', malformedPacket, 'flags of the fixed header', 'refuses'],
  ['[MQTT-3.10.1-1] UNSUBSCRIBE flags 0000', 'c4', 'a0 05 0001 0001 61', malformedPacket, 'flags of the fixed header', 'refuses'],
  ['SUBSCRIBE with DUP after 3.1', 'c4', '8a 06 0001 0001 61 00', malformedPacket, 'flags of the fixed header', 'refuses'],
  ['[MQTT-3.14.1-1] DISCONNECT flags', 'c5', 'e1 00', malformedPacket, 'flags of the fixed header', 'refuses'],
  ['[MQTT-3.15.1-1] AUTH flags', 'c5', 'f1 00', malformedPacket, 'flags of the fixed header', 'refuses'],
  ['[MQTT-3.3.1-4] QoS 3', 'c4', '36 05 0001 61 0001', malformedPacket, 'flags of the fixed header', 'refuses'],
  ['[MQTT-3.3.1-2] DUP with QoS 0', 'c4', '38 03 0001 61', malformedPacket, 'flags of the fixed header', blind],
  ['packet type 0', 'c4', '00 00', malformedPacket, 'packet type 0', 'refuses'],
  ['AUTH before 5.0', 'c4', 'f0 00', protocolError, 'packet that this side does not send in this version', 'refuses'],
  ['SUBACK from a client', 'c4', '90 03 0001 00', protocolError, 'packet that this side does not send in this version', side],
  ['SUBSCRIBE from a server', 's4', '82 06 0001 0001 61 00', protocolError, 'packet that this side does not send in this version', side],
  ['DISCONNECT from a server before 5.0', 's4', 'e0 00', protocolError, 'packet that this side does not send in this version', side],
  ['remaining length of 5 bytes', 'c4', 'c0 80 80 80 80 01', malformedPacket, 'remaining length longer than 4 bytes', 'refuses'],
  ['[MQTT-1.5.5-1] remaining length not shortest', 'c5', 'c0 80 00', malformedPacket, 'remaining length not in its shortest form', blind],
  ['packet above the limit', 'c4', '30 ff ff 7f', packetTooLarge, 'packet too large', 'waits'],
  ['PINGREQ with a body', 'c4', 'c0 01 00', malformedPacket, 'bytes left over at the end of the packet', loose],
  ['DISCONNECT with a body before 5.0', 'c4', 'e0 01 00', malformedPacket, 'bytes left over at the end of the packet', loose],
  // CONNECT.
  ['[MQTT-3.1.0-1] first packet', 'c0', 'c0 00', protocolError, 'first packet is not CONNECT', side],
  ['CONNECT above its limit', 'c0', '10 ff ff 7f', packetTooLarge, 'packet too large', 'waits'],
  ['[MQTT-3.1.0-2] second CONNECT', 'c4', '10 0d 0004 4d515454 04 02 0000 0001 61', protocolError, 'second CONNECT', side],
  [
    '[MQTT-3.1.2-1] protocol name',
    'c0',
    '10 0d 0004 4d515455 04 02 0000 0001 61',
    unsupportedProtocolVersion,
    'protocol name not supported',
    'refuses',
  ],
  ['[MQTT-3.1.2-2] level 6', 'c0', '10 0d 0004 4d515454 06 02 0000 0001 61', unsupportedProtocolVersion, 'protocol version not supported', 'refuses'],
  [
    '[MQTT-3.1.2-2] level 3 of MQTT',
    'c0',
    '10 0d 0004 4d515454 03 02 0000 0001 61',
    unsupportedProtocolVersion,
    'protocol version not supported',
    'accepts: it takes any level with either name',
  ],
  ['[MQTT-3.1.2-3] reserved flag', 'c0', '10 0d 0004 4d515454 04 03 0000 0001 61', malformedPacket, 'reserved connect flag', 'refuses'],
  ['[MQTT-3.1.2-11] will QoS without a will', 'c0', '10 0d 0004 4d515454 04 0a 0000 0001 61', malformedPacket, 'will QoS without a will', 'refuses'],
  ['[MQTT-3.1.2-12] will QoS 3', 'c0', '10 12 0004 4d515454 04 1e 0000 0001 61 0001 61 0000', malformedPacket, 'will QoS 3', blind],
  [
    '[MQTT-3.1.2-13] will retain without a will',
    'c0',
    '10 0d 0004 4d515454 04 22 0000 0001 61',
    malformedPacket,
    'will retain without a will',
    'refuses',
  ],
  [
    '[MQTT-3.1.2-22] of 3.1.1: password without a user name',
    'c0',
    '10 10 0004 4d515454 04 42 0000 0001 61 0001 70',
    malformedPacket,
    'password without a user name',
    blind,
  ],
  ['[MQTT-3.1.2-17] user name missing', 'c0', '10 0d 0004 4d515454 04 82 0000 0001 61', malformedPacket, 'packet ends early', 'refuses'],
  [
    'bytes after the last field',
    'c0',
    '10 0e 0004 4d515454 04 02 0000 0001 61 00',
    malformedPacket,
    'bytes left over at the end of the packet',
    loose,
  ],
  [
    'will topic with a wildcard',
    'c0',
    '10 12 0004 4d515454 04 06 0000 0001 61 0001 23 0000',
    topicNameInvalid,
    'will topic is not a topic name',
    blind,
  ],
  [
    '3.1.2.11.10 authentication data alone',
    'c0',
    '10 11 0004 4d515454 05 02 0000 04 16 0001 61 0000',
    protocolError,
    'authentication data without a method',
    blind,
  ],
  [
    '[MQTT-1.5.5-1] in a CONNECT of 5.0',
    'c0',
    '10 8d 00 0004 4d515454 05 02 0000 00 0000',
    malformedPacket,
    'remaining length not in its shortest form',
    blind,
  ],
  ['CONNECT ends early', 'c0', '10 04 0004 4d51', malformedPacket, 'packet ends early', 'refuses'],
  // Strings and integers.
  [
    '[MQTT-1.5.4-1] a surrogate',
    'c0',
    '10 0f 0004 4d515454 04 02 0000 0003 eda080',
    malformedPacket,
    'string is not UTF-8 or holds U+0000',
    'accepts: it replaces what is not UTF-8',
  ],
  [
    '[MQTT-1.5.4-2] U+0000',
    'c0',
    '10 0d 0004 4d515454 04 02 0000 0001 00',
    malformedPacket,
    'string is not UTF-8 or holds U+0000',
    'accepts: it keeps U+0000',
  ],
  [
    '[MQTT-1.5.4-1] overlong form',
    'c4',
    '82 07 0001 0002 c080 00',
    malformedPacket,
    'string is not UTF-8 or holds U+0000',
    'accepts: it replaces what is not UTF-8',
  ],
  [
    '[MQTT-1.5.5-1] property length not shortest',
    'c5',
    'a2 07 0001 8000 0001 61',
    malformedPacket,
    'variable byte integer not in its shortest form',
    blind,
  ],
  ['property length of 5 bytes', 'c5', 'a2 0a 0001 8080808001 0001 61', malformedPacket, 'variable byte integer longer than 4 bytes', 'refuses'],
  // PUBLISH.
  [
    '[MQTT-3.3.2-1] topic not UTF-8',
    'c4',
    '30 03 0001 ff',
    malformedPacket,
    'topic name is not UTF-8 or holds U+0000',
    'accepts: it replaces what is not UTF-8',
  ],
  ['[MQTT-3.3.2-2] wildcard', 'c4', '30 03 0001 2b', topicNameInvalid, 'topic name has a wildcard or too many levels', blind],
  ['[MQTT-4.7.3-1] empty topic', 'c4', '30 02 0000', protocolError, 'no topic name and no topic alias', blind],
  ['3.3.2.1 empty topic without an alias', 'c5', '30 03 0000 00', protocolError, 'no topic name and no topic alias', blind],
  ['topic longer than the packet', 'c4', '30 03 0005 61', malformedPacket, 'packet ends early', 'refuses'],
  ['PUBLISH without a topic', 'c4', '30 01 00', malformedPacket, 'packet ends early', 'refuses'],
  ['[MQTT-2.2.1-3] packet identifier 0', 'c4', '32 05 0001 61 0000', protocolError, 'packet identifier 0', blind],
  ['no packet identifier', 'c4', '32 03 0001 61', malformedPacket, 'packet ends early', 'accepts: it takes -1 for the identifier'],
  ['no property length', 'c5', '30 03 0001 61', malformedPacket, 'packet ends early', 'accepts: it takes nothing for 0'],
  ['property length beyond the packet', 'c5', '30 06 0001 61 05 0100', malformedPacket, 'property length beyond the end of the packet', 'refuses'],
  [
    'property beyond the property length',
    'c5',
    '30 07 0001 61 01 0101 78',
    malformedPacket,
    'packet ends early',
    'accepts: it lets the last property cross the end',
  ],
  ['[MQTT-3.3.2-8] topic alias 0', 'c5', '30 07 0001 61 03 230000', topicAliasInvalid, 'topic alias 0', blind],
  [
    '[MQTT-3.3.4-6] subscription identifier from a client',
    'c5',
    '30 06 0001 61 02 0b01',
    protocolError,
    'property that only the other side may send',
    side,
  ],
  ['subscription identifier 0', 's5', '30 06 0001 61 02 0b00', protocolError, 'subscription identifier 0', blind],
  ['[MQTT-3.3.2-14] response topic with a wildcard', 'c5', '30 08 0001 61 04 08000123', protocolError, 'response topic is not a topic name', blind],
  ['payload format indicator 2', 'c5', '30 06 0001 61 02 0102', protocolError, 'property value out of range', blind],
  ['payload format indicator twice', 'c5', '30 08 0001 61 04 01010101', protocolError, 'property given twice', 'accepts: it makes an array'],
  ['message expiry interval cut off', 'c5', '30 07 0001 61 03 020000', malformedPacket, 'packet ends early', 'refuses'],
  ['unknown property', 'c5', '30 06 0001 61 02 7f00', malformedPacket, 'unknown property', 'refuses'],
  ['2.2.2.2 property of another packet', 'c5', '30 07 0001 61 03 210001', malformedPacket, 'property that this packet cannot have', any],
  // Acknowledgements.
  ['PUBACK cut off', 'c4', '40 01 00', malformedPacket, 'packet ends early', 'accepts: it takes -1 for the identifier'],
  ['PUBACK too long before 5.0', 'c4', '40 03 0001 00', malformedPacket, 'bytes left over at the end of the packet', loose],
  ['PUBACK with identifier 0', 'c4', '40 02 0000', protocolError, 'packet identifier 0', blind],
  ['[MQTT-3.4.2-1] PUBACK reason code', 'c5', '40 03 0001 92', protocolError, 'reason code that this packet cannot have', 'refuses'],
  ['[MQTT-3.6.2-1] PUBREL reason code', 'c5', '62 03 0001 10', protocolError, 'reason code that this packet cannot have', 'refuses'],
  ['bytes after the properties of PUBACK', 'c5', '40 05 0001 00 00 00', malformedPacket, 'bytes left over at the end of the packet', loose],
  // SUBSCRIBE, SUBACK.
  ['[MQTT-3.8.3-2] no filter', 'c4', '82 02 0001', protocolError, 'SUBSCRIBE without a topic filter', empty],
  ['3.8.3-4 of 3.1.1: QoS 3', 'c4', '82 06 0001 0001 61 03', malformedPacket, 'QoS 3', 'refuses'],
  ['3.8.3-4 of 3.1.1: reserved bits', 'c4', '82 06 0001 0001 61 04', malformedPacket, 'reserved bits of subscription options', 'refuses'],
  ['[MQTT-3.8.3-5] reserved bits', 'c5', '82 07 0001 00 0001 61 40', malformedPacket, 'reserved bits of subscription options', 'refuses'],
  ['retain handling 3', 'c5', '82 07 0001 00 0001 61 30', protocolError, 'retain handling 3', 'refuses'],
  ['[MQTT-3.8.3-4] no local and shared', 'c5', '82 0f 0001 00 0009 2473686172652f612f 04', protocolError, 'no local on a shared subscription', blind],
  ['options missing', 'c4', '82 05 0001 0001 61', malformedPacket, 'packet ends early', 'refuses'],
  ['two subscription identifiers', 'c5', '82 0b 0001 04 0b010b02 0001 61 00', protocolError, 'property given twice', 'accepts: it makes an array'],
  ['[MQTT-3.9.3-1] SUBACK without a code', 's4', '90 02 0001', protocolError, 'SUBACK without a reason code', empty],
  ['[MQTT-3.9.3-2] of 3.1.1: return code 3', 's4', '90 03 0001 03', protocolError, 'reason code that this packet cannot have', 'refuses'],
  ['[MQTT-3.10.3-2] UNSUBSCRIBE without a filter', 'c4', 'a2 02 0001', protocolError, 'UNSUBSCRIBE without a topic filter', empty],
  ['[MQTT-3.11.3-1] UNSUBACK without a code', 's5', 'b0 03 0001 00', protocolError, 'UNSUBACK without a reason code', empty],
  ['UNSUBACK with a body before 5.0', 's4', 'b0 03 0001 00', malformedPacket, 'bytes left over at the end of the packet', 'refuses'],
  // CONNACK, DISCONNECT, AUTH.
  ['[MQTT-3.2.2-1] acknowledge flags', 's4', '20 02 02 00', malformedPacket, 'reserved bits of the acknowledge flags', 'refuses'],
  ['[MQTT-3.2.2-6] session present on a refusal', 's4', '20 02 01 05', protocolError, 'session present on a refused connection', blind],
  ['[MQTT-3.2.2-8] CONNACK reason code', 's5', '20 03 00 01 00', protocolError, 'reason code that this packet cannot have', blind],
  ['receive maximum 0', 's5', '20 06 00 00 03 210000', protocolError, 'property value out of range', blind],
  ['retain available 2', 's5', '20 05 00 00 02 2502', protocolError, 'property value out of range', blind],
  ['[MQTT-3.14.2-1] DISCONNECT reason code', 'c5', 'e0 01 01', protocolError, 'reason code that this packet cannot have', 'refuses'],
  ['[MQTT-3.14.2-2] session expiry from a server', 's5', 'e0 07 00 05 1100000001', protocolError, 'property that only the other side may send', side],
  ['[MQTT-3.15.2-1] AUTH reason code', 'c5', 'f0 02 01 00', protocolError, 'reason code that this packet cannot have', 'refuses'],
];

/** Refused here and accepted by mqtt-packet, as `fuzz.test.ts` names it. */
export const stricter: ReadonlySet<string> = new Set(rows.filter((r) => r[5].startsWith('accepts')).map((r) => `${r[3]} ${r[4]}`));
