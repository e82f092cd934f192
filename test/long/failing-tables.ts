// A program for tests, of one directory and what to do there:
// `fail`: writes large and small rows to two stores of tables until a write fails, says how, closes both, and ends
// by itself with status 3; `close`: opens stores, writes, and closes them at once, many times; `exit`: ends with
// status 7 while it writes, so many milliseconds after the second batch.
import { OsTables } from '#os/tables.js';

const rows = 60;
const valueBytes = 300_000;
/** Nothing fails: status 0. */
const batchesMax = 5_000;

const closings = 500;
const batchesAtExit = 40;

const [dir = '', what = ''] = process.argv.slice(2);
const tables = new OsTables(dir);

/** Writes until a write fails. */
function fail(): void {
  const store = tables.open('failing');
  const beside = tables.open('beside');
  process.on('exit', () => console.log('listeners are heard'));
  const writeNext = (n: number): void => {
    const batch = [
      { key: Buffer.from(`large ${n % rows}`), value: Buffer.alloc(valueBytes + n, 'x') },
      { key: Buffer.from(`small ${n}`), value: Buffer.from('y') },
    ];
    store.write(batch, (error) => {
      if (error === undefined && n < batchesMax) {
        writeNext(n + 1);
        return;
      }
      console.log(error?.message);
      process.exitCode = error === undefined ? 0 : 3;
      store.close(() => beside.close(() => console.log('closed')));
    });
  };
  beside.write([{ key: Buffer.from('a'), value: Buffer.from('b') }], () => writeNext(0));
}

function smallBatch(n: number): { readonly key: Uint8Array; readonly value: Uint8Array }[] {
  return Array.from({ length: 50 }, (_, i) => ({ key: Buffer.from(`key ${(i * n) % 1_000}`), value: Buffer.alloc(100, i) }));
}

async function close(): Promise<void> {
  for (let n = 0; n < closings; n++) {
    const store = tables.open(`store ${n % 3}`);
    for (let i = 0; i < 3; i++) await new Promise((done) => store.write(smallBatch(n + i), done));
    await new Promise<void>((done) => store.close(done));
  }
  console.log('closed');
}

function exit(): void {
  const store = tables.open('written');
  for (let n = 0; n < batchesAtExit; n++) {
    const rows = Array.from({ length: 2_000 }, (_, i) => ({ key: Buffer.from(`key ${n} ${(i * 7_919) % 2_003}`), value: Buffer.alloc(500, i) }));
    store.write(rows, () => {
      if (n === 1) setTimeout(() => process.exit(7), Number(process.argv[4]));
    });
  }
}

if (what === 'fail') fail();
else if (what === 'close') await close();
else exit();
