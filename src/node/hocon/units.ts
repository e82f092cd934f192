// Durations, sizes, percentages and rates as people write them: `15s`, `1h30m`, `16MB`, `80%`.
// Each function gives undefined for text that is not one; `config` makes the message.

const durationUnits: ReadonlyMap<string, number> = new Map([
  ['ms', 1],
  ['s', 1000],
  ['m', 60_000],
  ['h', 3_600_000],
  ['d', 86_400_000],
  ['w', 7 * 86_400_000],
]);

const sizeUnits: ReadonlyMap<string, number> = new Map([
  ['', 1],
  ['b', 1],
  ['kb', 1024],
  ['mb', 1024 ** 2],
  ['gb', 1024 ** 3],
  ['k', 1024],
  ['m', 1024 ** 2],
  ['g', 1024 ** 3],
  ['kib', 1024],
  ['mib', 1024 ** 2],
  ['gib', 1024 ** 3],
]);

/** Milliseconds. Several parts add up (`1h30m`); a bare number is not a duration: say the unit. */
export function parseDurationMs(text: string): number | undefined {
  const compact = text.replaceAll(/\s+/g, '').toLowerCase();
  if (!/^(?:[0-9]+(?:\.[0-9]+)?(?:ms|[smhdw]))+$/.test(compact)) return undefined;
  let ms = 0;
  for (const [, amount, unit] of compact.matchAll(/([0-9.]+)(ms|[smhdw])/g)) ms += Number(amount) * (durationUnits.get(unit ?? '') ?? Number.NaN);
  return Number.isSafeInteger(Math.round(ms)) ? Math.round(ms) : undefined;
}

/** Bytes; units are powers of 1,024, as EMQX has them. */
export function parseBytes(text: string): number | undefined {
  const parts = /^([0-9]+(?:\.[0-9]+)?)\s*([a-z]*)$/i.exec(text.trim());
  const factor = sizeUnits.get((parts?.[2] ?? '').toLowerCase());
  if (parts === null || factor === undefined) return undefined;
  const bytes = Math.round(Number(parts[1]) * factor);
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

/** A share from 0 to 1: `80%`, `0.8`. */
export function parsePercent(text: string): number | undefined {
  const parts = /^([0-9]+(?:\.[0-9]+)?)(%?)$/.exec(text.trim());
  if (parts === null) return undefined;
  const share = Number(parts[1]) / (parts[2] === '%' ? 100 : 1);
  return share <= 1 ? share : undefined;
}

/** An amount per second: `1000/s`, `1MB/s`, `500/10s`. */
export function parseRatePerSecond(text: string): number | undefined {
  const parts = /^([^/]+)\/([0-9.]*)\s*(ms|[smhd])$/.exec(text.trim().toLowerCase());
  const amount = parts === null ? undefined : parseBytes(parts[1] ?? '');
  const periodMs = parts === null ? undefined : parseDurationMs(`${parts[2] === '' ? '1' : parts[2]}${parts[3]}`);
  if (amount === undefined || periodMs === undefined || periodMs === 0) return undefined;
  return (amount * 1000) / periodMs;
}
