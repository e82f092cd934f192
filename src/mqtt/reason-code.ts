// The reason codes of MQTT 5.0 (section 2.4) by name, which packet may carry which, and what becomes of
// them before 5.0. Starmesh speaks in these codes inside, whatever version the client speaks.

export const ReasonCode = {
  success: 0x00,
  normalDisconnection: 0x00,
  grantedQoS0: 0x00,
  grantedQoS1: 0x01,
  grantedQoS2: 0x02,
  disconnectWithWillMessage: 0x04,
  noMatchingSubscribers: 0x10,
  noSubscriptionExisted: 0x11,
  continueAuthentication: 0x18,
  reAuthenticate: 0x19,
  unspecifiedError: 0x80,
  malformedPacket: 0x81,
  protocolError: 0x82,
  implementationSpecificError: 0x83,
  unsupportedProtocolVersion: 0x84,
  clientIdentifierNotValid: 0x85,
  badUserNameOrPassword: 0x86,
  notAuthorized: 0x87,
  serverUnavailable: 0x88,
  serverBusy: 0x89,
  banned: 0x8a,
  serverShuttingDown: 0x8b,
  badAuthenticationMethod: 0x8c,
  keepAliveTimeout: 0x8d,
  sessionTakenOver: 0x8e,
  topicFilterInvalid: 0x8f,
  topicNameInvalid: 0x90,
  packetIdentifierInUse: 0x91,
  packetIdentifierNotFound: 0x92,
  receiveMaximumExceeded: 0x93,
  topicAliasInvalid: 0x94,
  packetTooLarge: 0x95,
  messageRateTooHigh: 0x96,
  quotaExceeded: 0x97,
  administrativeAction: 0x98,
  payloadFormatInvalid: 0x99,
  retainNotSupported: 0x9a,
  qosNotSupported: 0x9b,
  useAnotherServer: 0x9c,
  serverMoved: 0x9d,
  sharedSubscriptionsNotSupported: 0x9e,
  connectionRateExceeded: 0x9f,
  maximumConnectTime: 0xa0,
  subscriptionIdentifiersNotSupported: 0xa1,
  wildcardSubscriptionsNotSupported: 0xa2,
} as const;

export type ReasonCode = (typeof ReasonCode)[keyof typeof ReasonCode];

const names = new Map<number, string>();
for (const [name, code] of Object.entries(ReasonCode)) if (!names.has(code)) names.set(code, name);

/** The code's name for logs and events (`packetTooLarge`), or its number in hexadecimal when it has none. */
export function reasonCodeName(code: number): string {
  return names.get(code) ?? `0x${code.toString(16).padStart(2, '0')}`;
}

/** Codes of 0x80 and above say that the operation failed. */
export function isFailure(code: number): boolean {
  return code >= 0x80;
}

/** CONNACK return codes of MQTT 3.1 and 3.1.1 (3.2.2.3). */
export const ReturnCode = {
  accepted: 0,
  unacceptableProtocolVersion: 1,
  identifierRejected: 2,
  serverUnavailable: 3,
  badUserNameOrPassword: 4,
  notAuthorized: 5,
} as const;

export type ReturnCode = (typeof ReturnCode)[keyof typeof ReturnCode];

/** The return code that tells a 3.1 or 3.1.1 client most of what `code` says. Codes below 0x80 are passed on: they are return codes already. */
export function toReturnCode(code: number): number {
  switch (code) {
    case ReasonCode.unsupportedProtocolVersion:
      return ReturnCode.unacceptableProtocolVersion;
    case ReasonCode.clientIdentifierNotValid:
      return ReturnCode.identifierRejected;
    case ReasonCode.badUserNameOrPassword:
    case ReasonCode.badAuthenticationMethod:
      return ReturnCode.badUserNameOrPassword;
    case ReasonCode.notAuthorized:
    case ReasonCode.banned:
      return ReturnCode.notAuthorized;
    default:
      return code < 0x80 ? code : ReturnCode.serverUnavailable;
  }
}

const connackCodes = codes('00 80 81 82 83 84 85 86 87 88 89 8a 8c 90 95 97 99 9a 9b 9c 9d 9f');
const pubackCodes = codes('00 10 80 83 87 90 91 97 99');
const pubrelCodes = codes('00 92');
const subackCodes = codes('00 01 02 80 83 87 8f 91 97 9e a1 a2');
const unsubackCodes = codes('00 11 80 83 87 8f 91');
const disconnectCodes = codes('00 04 80 81 82 83 87 89 8b 8d 8e 8f 90 93 94 95 96 97 98 99 9a 9b 9c 9d 9e 9f a0 a1 a2');
const authCodes = codes('00 18 19');

/** Which codes each packet of MQTT 5.0 may carry (the tables of sections 3.2.2.2, 3.4.2.1, 3.5.2.1, 3.6.2.1, 3.7.2.1, 3.9.3, 3.11.3, 3.14.2.1, 3.15.2.1). */
export const reasonCodesOf: {
  readonly connack: ReadonlySet<number>;
  readonly puback: ReadonlySet<number>;
  readonly pubrec: ReadonlySet<number>;
  readonly pubrel: ReadonlySet<number>;
  readonly pubcomp: ReadonlySet<number>;
  readonly suback: ReadonlySet<number>;
  readonly unsuback: ReadonlySet<number>;
  readonly disconnect: ReadonlySet<number>;
  readonly auth: ReadonlySet<number>;
} = {
  connack: connackCodes,
  puback: pubackCodes,
  pubrec: pubackCodes,
  pubrel: pubrelCodes,
  pubcomp: pubrelCodes,
  suback: subackCodes,
  unsuback: unsubackCodes,
  disconnect: disconnectCodes,
  auth: authCodes,
};

function codes(hex: string): ReadonlySet<number> {
  return new Set(hex.split(' ').map((h) => Number.parseInt(h, 16)));
}
