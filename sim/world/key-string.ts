// Byte keys as strings with one character per byte, like base's byteString, but by Node's own code:
// the models and checkers make millions.

const { latin1Slice } = Buffer.prototype as unknown as { readonly latin1Slice: (this: Uint8Array, start: number, end: number) => string };

export function keyString(bytes: Uint8Array): string {
  return latin1Slice.call(bytes, 0, bytes.length);
}
