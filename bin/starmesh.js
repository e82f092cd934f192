#!/usr/bin/env node
// The command `starmesh`; what it does stands in src/node/cli/main.ts.
import '../tools/node-version.mjs';
import { existsSync } from 'node:fs';

const built = new URL('../dist/node/cli/main.js', import.meta.url);
if (existsSync(built)) {
  const { main } = await import(built.href);
  process.exitCode = await main(process.argv.slice(2));
} else {
  console.error('starmesh: this checkout is not built yet; run npm install --ignore-scripts && npm run build, or npm start, which does both');
  process.exitCode = 1;
}
