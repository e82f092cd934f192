// Limits of the HOCON reader. A configuration is written by hand: whoever hits one has another problem.

/** One file, in characters. */
export const textLengthMax = 4_194_304;
/** Objects and lists inside each other in the text, and assignments of one key that refer to others. */
export const depthMax = 64;
/** Values inside values, dotted keys and substitutions followed: keeps the recursion far from the end of the stack. */
export const resolveDepthMax = 1000;
/** Files that include each other. */
export const includeDepthMax = 8;
/** Files altogether. */
export const includedFilesMax = 256;
/** Parts of one dotted key. */
export const pathPartsMax = 32;
/** Values plus 64ths of characters that substitutions may produce, so that a small file cannot unfold into a huge one. */
export const expansionMax = 200_000;
