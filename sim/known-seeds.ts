// Reads the seeds that once failed from sim/seeds.md: rows `| scope | seed | seconds | … |`.
export interface KnownSeed {
  readonly seed: number;
  readonly seconds: number;
}

export function knownSeeds(text: string, scope: string): KnownSeed[] {
  const found: KnownSeed[] = [];
  for (const line of text.split('\n')) {
    const cells = line.split('|').map((c) => c.trim());
    if (cells[1] === scope && /^\d+$/.test(cells[2] ?? '')) found.push({ seed: Number(cells[2]), seconds: Number(cells[3]) });
  }
  return found;
}
