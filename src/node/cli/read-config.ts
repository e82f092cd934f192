// A configuration file with its includes, from disk.
import { readFileSync } from 'node:fs';
import { type LoadedConfig, loadConfig } from '../config/load.js';
import { sentence } from './sentence.js';

/** A node without a file: alone, on loopback. */
const lone = 'listeners.tcp.default.bind = "127.0.0.1:1883"\n';

/** Throws an Error whose message is for the user; `path` undefined: safe defaults. */
export function readConfig(path: string | undefined): LoadedConfig {
  const text = path === undefined ? lone : readText(path);
  if (text === undefined) throw new Error(`there is no file ${path ?? ''}`);
  return loadConfig({ file: path ?? 'defaults', text, readText, environment: process.env });
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new Error(sentence(error));
  }
}
