// Every case of every table, for the document and its test.
import { accessCases } from './access.js';
import type { AttackCase } from './attack.js';
import { firstByteCases } from './first-bytes.js';
import { floodCases, slowCases } from './floods.js';
import { nameCases } from './names.js';
import { packetCases } from './packets.js';
import { planeCases } from './plane.js';
import { rightCases } from './rights.js';
import { originCases, webSocketCases } from './web-socket.js';

export const allCases: readonly AttackCase[] = [
  ...firstByteCases,
  ...packetCases,
  ...planeCases,
  ...webSocketCases,
  ...originCases,
  ...accessCases,
  ...rightCases,
  ...nameCases,
  ...floodCases,
  ...slowCases,
];
