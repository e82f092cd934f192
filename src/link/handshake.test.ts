import assert from 'node:assert/strict';
import { createHash, createHmac } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { concatBytes } from '#base/bytes.js';
import { Prng } from '#base/prng.js';
import { utf8Encode } from '#base/utf8.js';
import type { Hash } from '#env/hash.js';
import {
  AcceptorHandshake,
  DialerHandshake,
  type HandshakeStep,
  type LocalSide,
  linkIdBytes,
  preambleBytes,
  proofBytes,
  refusals,
} from './handshake.js';
import { helloBytesMax } from './hello.js';

const hash: Hash = {
  hmacSha256: (key, data) => new Uint8Array(createHmac('sha256', key).update(data).digest()),
  sha256: (data) => new Uint8Array(createHash('sha256').update(data).digest()),
};
const prng = new Prng(11);
const linkId = new Uint8Array(linkIdBytes).fill(5);

function side(name: string, options: { cookie?: string; hello?: Uint8Array } = {}): LocalSide {
  const nodeId = Buffer.from(name.padEnd(16, '.')).toString('hex');
  return {
    hash,
    cookie: utf8Encode(options.cookie ?? 'secret'),
    nodeId,
    hello: options.hello ?? utf8Encode(`hello of ${name}`),
    challenge: prng.bytes(32),
  };
}

function dialer(options: { cookie?: string; hello?: Uint8Array } = {}): DialerHandshake {
  return new DialerHandshake(side('dialer', options), 2, linkId);
}

function sent(step: HandshakeStep): Uint8Array {
  assert.equal(step.kind, 'more');
  return step.kind === 'more' ? step.send : new Uint8Array(0);
}

function fault(step: HandshakeStep): string {
  return step.kind === 'failed' ? step.fault : step.kind;
}

const answerHello = utf8Encode('hello of acceptor');

/** Both machines up to the acceptor's verdict on the dialer. */
function meet(d: DialerHandshake, a: AcceptorHandshake): HandshakeStep {
  return a.push(sent(d.push(sent(a.push(d.start())))));
}

test('both sides end with what the other said, in pieces of any size, and keep what follows', () => {
  for (let seed = 1; seed < 30; seed++) {
    const cut = new Prng(seed);
    const d = dialer();
    const a = new AcceptorHandshake(side('acceptor'));
    const tail = cut.bytes(cut.int(40));
    const feed = (machine: { push(b: Uint8Array): HandshakeStep }, bytes: Uint8Array): HandshakeStep => {
      let step: HandshakeStep = { kind: 'more', send: new Uint8Array(0) };
      const out: Uint8Array[] = [];
      for (let at = 0; at < bytes.length; ) {
        const n = 1 + cut.int(bytes.length - at);
        step = machine.push(bytes.slice(at, at + n));
        at += n;
        if (step.kind === 'more') out.push(step.send);
        if (step.kind === 'done') return { ...step, rest: concatBytes([step.rest, bytes.slice(at)]) };
      }
      return step.kind === 'more' ? { kind: 'more', send: concatBytes(out) } : step;
    };
    const proved = feed(a, sent(feed(d, sent(feed(a, d.start())))));
    assert.equal(proved.kind, 'done');
    if (proved.kind !== 'done') return;
    assert.equal(Buffer.from(proved.remote.hello).toString(), 'hello of dialer');
    assert.equal(proved.remote.lane, 2);
    assert.equal(proved.remote.linkId, Buffer.from(linkId).toString('hex'));
    const answer = a.answer(refusals.none, answerHello);
    const done = feed(d, concatBytes([answer.send, tail]));
    assert.equal(done.kind, 'done');
    if (done.kind !== 'done') return;
    assert.equal(Buffer.from(done.remote.hello).toString(), 'hello of acceptor');
    assert.equal(Buffer.from(done.remote.nodeId, 'hex').toString(), 'acceptor........');
    assert.deepEqual(done.rest, tail);
    assert.deepEqual([done.readSeed, done.writeSeed], [answer.writeSeed, proved.readSeed]);
    assert.notEqual(done.readSeed, done.writeSeed);
  }
});

test('a dialer without the cookie is told nothing but a challenge; an acceptor without it is found out', () => {
  const a = new AcceptorHandshake(side('acceptor'));
  const d = dialer({ cookie: 'guess' });
  const challenge = sent(a.push(d.start()));
  assert.equal(challenge.length, preambleBytes);
  const step = a.push(sent(d.push(challenge)));
  assert.equal(fault(step), 'cookie');
  assert.equal(step.kind === 'failed' ? step.send.length : -1, 0);
  assert.equal(a.authenticated, false);
  assert.throws(() => a.answer(refusals.none, answerHello));

  // An acceptor that lets everybody in, but does not know the cookie itself.
  const honest = dialer();
  const liar = new AcceptorHandshake(side('acceptor', { cookie: 'guess' }));
  sent(honest.push(sent(liar.push(honest.start()))));
  assert.equal(fault(honest.push(new Uint8Array(proofBytes))), 'cookie');
});

test('replay: a recorded dialer is refused by the next challenge, a recorded acceptor too', () => {
  const d = dialer();
  const a = new AcceptorHandshake(side('acceptor'));
  const first = d.start();
  const challenge = sent(a.push(first));
  const proof = sent(d.push(challenge));
  assert.equal(a.push(proof).kind, 'done');
  const answer = a.answer(refusals.none, answerHello).send;

  const again = new AcceptorHandshake(side('acceptor'));
  sent(again.push(first));
  assert.equal(fault(again.push(proof)), 'cookie');

  const fresh = dialer();
  sent(fresh.push(challenge));
  assert.equal(fault(fresh.push(answer)), 'cookie');
});

test('reflection: what a side says about itself is no proof of the other side', () => {
  // The dialer's own proof, sent back to it.
  const d = dialer();
  const own = d.start();
  assert.equal(fault(dialer().push(own)), 'more');
  const proof = sent(d.push(own));
  assert.equal(fault(d.push(proof)), 'cookie');

  // An acceptor's answer, used to dial another with the same opening: label and challenge differ.
  const victim = new AcceptorHandshake(side('acceptor'));
  const helper = new AcceptorHandshake(side('acceptor'));
  const honest = dialer();
  sent(victim.push(honest.start()));
  assert.equal(meet(honest, helper).kind, 'done');
  const answer = helper.answer(refusals.none, answerHello).send;
  assert.equal(fault(victim.push(answer)), 'cookie');
});

test('a proof holds for its lane, its link, its hello and the versions only', () => {
  for (let at = 0; at < proofBytes; at++) {
    const d = dialer();
    const a = new AcceptorHandshake(side('acceptor'));
    const message = sent(d.push(sent(a.push(d.start())))).slice();
    message[at] = (message[at] ?? 0) ^ 1;
    assert.equal(fault(a.push(message)), 'cookie', `byte ${at}`);
  }
  const d = dialer();
  const a = new AcceptorHandshake(side('acceptor'));
  const message = sent(d.push(sent(a.push(d.start())))).slice();
  message[proofBytes] = (message[proofBytes] ?? 0) ^ 1;
  assert.equal(fault(a.push(message)), 'hello');

  // Somebody on the way changes the versions that the dialer offers: an older one would do for both.
  const offered = dialer();
  const start = offered.start().slice();
  assert.ok((start[10] ?? 0) > 1);
  start[10] = 1;
  const b = new AcceptorHandshake(side('acceptor'));
  assert.equal(fault(b.push(sent(offered.push(sent(b.push(start)))))), 'cookie');
});

test('versions: without a common one both sides say so', () => {
  const start = dialer().start().slice();
  start[8] = 7;
  start[10] = 9;
  const a = new AcceptorHandshake(side('acceptor'));
  const step = a.push(start);
  assert.equal(fault(step), 'version');
  const d = dialer();
  assert.equal(fault(d.push(step.kind === 'failed' ? step.send : new Uint8Array(0))), 'version');
});

test('whoever talks before it is asked, or sends something else, is no peer', () => {
  const d = dialer();
  const a = new AcceptorHandshake(side('acceptor'));
  assert.equal(fault(a.push(concatBytes([d.start(), Uint8Array.of(0)]))), 'protocol');
  assert.equal(fault(new AcceptorHandshake(side('acceptor')).push(utf8Encode('GET / HTTP/1.1\r\nHost: somewhere.example.com\r\n\r\n'))), 'protocol');
  const eager = dialer();
  const b = new AcceptorHandshake(side('acceptor'));
  assert.equal(fault(eager.push(concatBytes([sent(b.push(eager.start())), Uint8Array.of(0)]))), 'protocol');
});

test('an authenticated refusal reaches the dialer, without the acceptor’s hello', () => {
  const d = dialer();
  const a = new AcceptorHandshake(side('acceptor'));
  assert.equal(meet(d, a).kind, 'done');
  const { send } = a.answer(refusals.cluster, answerHello);
  assert.equal(send.length, proofBytes);
  const step = d.push(send);
  assert.equal(step.kind === 'done' ? step.remote.refusal : undefined, refusals.cluster);
});

test('a hello beyond the bound is refused although it is proved', () => {
  const d = dialer({ hello: new Uint8Array(helloBytesMax + 1) });
  assert.equal(fault(meet(d, new AcceptorHandshake(side('acceptor')))), 'hello');
});

test('random bytes never throw and never authenticate', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 80 }), { maxLength: 8 }), fc.boolean(), fc.boolean(), (stream, accept, begin) => {
      const d = dialer();
      const a = new AcceptorHandshake(side('acceptor'));
      const machine = accept ? a : d;
      if (begin) machine.push(accept ? dialer().start() : sent(a.push(d.start())));
      for (const chunk of stream) {
        const step = machine.push(chunk);
        assert.notEqual(step.kind, 'done');
        if (step.kind === 'failed') break;
      }
    }),
    { numRuns: 300 },
  );
});
