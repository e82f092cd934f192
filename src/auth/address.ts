// IP addresses and networks (CIDR) as bytes. IPv4 in its IPv6 form (`::ffff:1.2.3.4`) is IPv4.

export interface Network {
  readonly address: Uint8Array;
  /** Bits that count. */
  readonly prefix: number;
}

/** 4 or 16 bytes; undefined for what is no address. A zone (`%eth0`) is left out. */
export function parseAddress(text: string): Uint8Array | undefined {
  const bare = text.replace(/%.*$/, '');
  const bytes = bare.includes(':') ? parseIpv6(bare) : parseIpv4(bare);
  return bytes?.length === 16 && isMapped(bytes) ? bytes.slice(12) : bytes;
}

function isMapped(bytes: Uint8Array): boolean {
  for (let i = 0; i < 10; i++) if (bytes[i] !== 0) return false;
  return bytes[10] === 0xff && bytes[11] === 0xff;
}

function parseIpv4(text: string): Uint8Array | undefined {
  const parts = text.split('.');
  if (parts.length !== 4 || !parts.every((p) => /^(?:0|[1-9][0-9]{0,2})$/.test(p) && Number(p) <= 255)) return undefined;
  return Uint8Array.from(parts.map(Number));
}

function parseIpv6(text: string): Uint8Array | undefined {
  const halves = text.split('::');
  if (halves.length > 2) return undefined;
  const head = groupsOf(halves[0] ?? '', halves.length === 1);
  const tail = halves.length === 2 ? groupsOf(halves[1] ?? '', true) : [];
  if (head === undefined || tail === undefined) return undefined;
  const missing = 16 - head.length - tail.length;
  if (halves.length === 1 ? missing !== 0 : missing < 2) return undefined;
  return Uint8Array.from([...head, ...new Array<number>(missing).fill(0), ...tail]);
}

/** Bytes of groups between colons; the last may be IPv4 when it ends the address. */
function groupsOf(text: string, ends: boolean): number[] | undefined {
  if (text === '') return [];
  const bytes: number[] = [];
  const groups = text.split(':');
  for (const [i, group] of groups.entries()) {
    if (ends && i === groups.length - 1 && group.includes('.')) {
      const v4 = parseIpv4(group);
      if (v4 === undefined) return undefined;
      bytes.push(...v4);
    } else if (/^[0-9a-fA-F]{1,4}$/.test(group)) {
      const n = Number.parseInt(group, 16);
      bytes.push(n >> 8, n & 255);
    } else return undefined;
  }
  return bytes;
}

/** `10.0.0.0/8`, `fe80::/10`, or one address. */
export function parseNetwork(text: string): Network | undefined {
  const slash = text.indexOf('/');
  const address = parseAddress(slash < 0 ? text : text.slice(0, slash));
  if (address === undefined) return undefined;
  if (slash < 0) return { address, prefix: address.length * 8 };
  const bits = text.slice(slash + 1);
  if (!/^[0-9]{1,3}$/.test(bits)) return undefined;
  // `::ffff:10.0.0.0/104` counts the bits of the IPv6 form.
  const prefix = address.length === 4 && text.slice(0, slash).includes(':') ? Number(bits) - 96 : Number(bits);
  return prefix >= 0 && prefix <= address.length * 8 ? { address, prefix } : undefined;
}

export function inNetwork(address: Uint8Array, network: Network): boolean {
  if (address.length !== network.address.length) return false;
  let bits = network.prefix;
  for (let i = 0; bits > 0; i++, bits -= 8) {
    const mask = bits >= 8 ? 0xff : (0xff << (8 - bits)) & 0xff;
    if ((((address[i] ?? 0) ^ (network.address[i] ?? 0)) & mask) !== 0) return false;
  }
  return true;
}

/** The host of `1.2.3.4:56789` or `[::1]:56789`, IPv4 in its own form. */
export function peerHost(peer: string): string {
  const colon = peer.lastIndexOf(':');
  const host = colon < 0 ? peer : peer.slice(0, colon);
  const bare = host.startsWith('[') ? host.slice(1, -1) : host;
  return bare.startsWith('::ffff:') && bare.includes('.') ? bare.slice(7) : bare;
}
