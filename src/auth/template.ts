// Texts with placeholders (`${clientid}`) that are filled with what strangers say of themselves. A
// template knows where it stands and encodes each value for that place, so that none can end it.

export interface Template {
  readonly texts: readonly string[];
  readonly names: readonly string[];
}

export type Values = (name: string) => string | undefined;

/** A text says what is wrong. */
export function parseTemplate(text: string, known: readonly string[]): Template | string {
  const parts = text.split(/\$\{([^}]*)\}/);
  const names = parts.filter((_, i) => i % 2 === 1);
  const unknown = names.find((n) => !known.includes(n));
  if (unknown !== undefined) return `\${${unknown}} is not known; there are ${known.map((n) => `\${${n}}`).join(', ')}`;
  return { texts: parts.filter((_, i) => i % 2 === 0), names };
}

/** Values that are missing are empty. */
export function fillTemplate(template: Template, values: Values, encode: (value: string) => string = same): string {
  let text = template.texts[0] ?? '';
  for (const [i, name] of template.names.entries()) text += encode(values(name) ?? '') + (template.texts[i + 1] ?? '');
  return text;
}

function same(value: string): string {
  return value;
}

/** Lone surrogates, which have no UTF-8, become U+FFFD. */
export function wellFormed(value: string): string {
  return Buffer.from(value, 'utf8').toString('utf8');
}

/** For one part of a URL's path or query. */
export function encodeUrlPart(value: string): string {
  return encodeURIComponent(wellFormed(value)).replaceAll(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);
}
