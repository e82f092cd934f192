import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Holder, relieve } from './relief.js';

const KiB = 1024;

class Fake implements Holder {
  readonly introduced: boolean;
  readonly quiet: boolean;
  readonly #heldBytes: number;
  readonly #reads: boolean;
  readonly #name: string;
  readonly #cut: string[];

  constructor(cut: string[], name: string, heldKiB: number, introduced: boolean = true, reads: boolean = false) {
    this.#reads = reads;
    this.quiet = !reads;
    this.#cut = cut;
    this.#name = name;
    this.#heldBytes = heldKiB * KiB;
    this.introduced = introduced;
  }

  held(patient: boolean): number {
    return patient && this.#reads ? 0 : this.#heldBytes;
  }

  cutOff(): void {
    this.#cut.push(this.#name);
  }
}

test('strangers go first, then the largest, until there is enough', () => {
  const cut: string[] = [];
  const all = [
    new Fake(cut, 'small', 70),
    new Fake(cut, 'stranger', 0, false),
    new Fake(cut, 'large', 900),
    new Fake(cut, 'middle', 300),
    new Fake(cut, 'reads', 60),
  ];
  assert.deepEqual(relieve(all, 1_000 * KiB, true), { strangers: 1, clients: 2, bytes: 1_200 * KiB });
  assert.deepEqual(cut, ['stranger', 'large', 'middle']);
});

test('who takes up little is never cut off, whatever is asked for', () => {
  const cut: string[] = [];
  const all = [new Fake(cut, 'small', 64), new Fake(cut, 'reads', 63), new Fake(cut, 'idle', 0)];
  relieve(all, 600 * KiB, false);
  assert.deepEqual(cut, ['small']);
});

test('where others have freed enough only strangers go', () => {
  const cut: string[] = [];
  relieve([new Fake(cut, 'large', 5_000), new Fake(cut, 'stranger', 0, false)], 0, true);
  assert.deepEqual(cut, ['stranger']);
});

test('nobody is closed where it would not help', () => {
  const cut: string[] = [];
  const all = [new Fake(cut, 'one', 90), new Fake(cut, 'other', 90)];
  assert.deepEqual(relieve(all, 2_000 * KiB, false), { strangers: 0, clients: 0, bytes: 0 });
  assert.deepEqual(cut, []);
});

test('a thousand at a time', () => {
  const cut: string[] = [];
  const all = Array.from({ length: 1_500 }, (_, i) => new Fake(cut, String(i), 64));
  assert.equal(relieve(all, 500_000 * KiB, true).clients, 1_000);
});

test('who reads is spared as long as there is time for that', () => {
  const cut: string[] = [];
  const all = [new Fake(cut, 'reads', 900, true, true), new Fake(cut, 'does not', 100), new Fake(cut, 'connects', 0, false, true)];
  assert.equal(relieve(all, 1_000 * KiB, true).bytes, 100 * KiB);
  assert.deepEqual(cut, ['does not']);
  relieve(all, 1_000 * KiB, false);
  assert.deepEqual(cut, ['does not', 'connects', 'reads', 'does not']);
});
