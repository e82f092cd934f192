// A program for tests: writes large and small rows to two stores of tables in the given directory until a
// write fails, says how, closes both, and ends by itself with status 3.
import { OsTables } from '#os/tables.js';

const rows = 60;
const valueBytes = 300_000;
/** Nothing fails: status 0. */
const batchesMax = 5_000;

const tables = new OsTables(process.argv[2] ?? '');
const store = tables.open('failing');
const beside = tables.open('beside');
process.on('exit', () => console.log('listeners are heard'));

function writeNext(n: number): void {
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
}

beside.write([{ key: Buffer.from('a'), value: Buffer.from('b') }], () => writeNext(0));
