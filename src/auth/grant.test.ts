import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Grant, unknown } from './grant.js';

/** Times fall on whole seconds and between them. */
const unitMs = (n: number): number => n * 250;

const kind = fc.nat(8);
const topic = fc.constantFrom('a', 'b', 'c', 'd', 'e');
const call = fc.oneof(
  fc.record({ do: fc.constant('keep' as const), kind, topic, allowed: fc.boolean(), ttl: fc.nat(10).map(unitMs) }),
  fc.record({ do: fc.constant('ask' as const), kind, topic }),
  fc.record({ do: fc.constant('wait' as const), ms: fc.nat(5).map(unitMs) }),
  fc.record({ do: fc.constant('change' as const) }),
);

test('never a verdict that was not given, is over, or of older rules; never more than there is room for', () => {
  fc.assert(
    fc.property(fc.array(call, { maxLength: 60 }), fc.integer({ min: 1, max: 4 }), (calls, room) => {
      const grant = new Grant(false);
      let known = new Map<string, { readonly allowed: boolean; readonly until: number }>();
      let now = 250;
      let version = 0;
      for (const c of calls) {
        if (c.do === 'wait') now += c.ms;
        else if (c.do === 'change') {
          version++;
          known = new Map();
        } else if (c.do === 'keep') {
          grant.keep(c.kind, c.topic, version, c.allowed, now + c.ttl, room);
          known.set(`${c.kind} ${c.topic}`, { allowed: c.allowed, until: now + c.ttl });
          if (c.ttl > 0) assert.equal(grant.cached(c.kind, c.topic, version, now), c.allowed ? 1 : -1);
        } else {
          const verdict = grant.cached(c.kind, c.topic, version, now);
          const right = known.get(`${c.kind} ${c.topic}`);
          if (verdict !== unknown) assert.ok(right !== undefined && right.until > now && right.allowed === verdict > 0);
          const sureMs = grant.allowedUntilS(c.kind, c.topic, version, now) * 1_000;
          if (verdict !== 1) assert.equal(sureMs, 0);
          else if (right !== undefined) assert.equal(sureMs, right.until - (right.until % 1_000) > now ? right.until - (right.until % 1_000) : 0);
        }
      }
      let kept = 0;
      for (let k = 0; k < 9; k++) for (const t of ['a', 'b', 'c', 'd', 'e']) if (grant.cached(k, t, version, now) !== unknown) kept++;
      assert.ok(kept <= room, `${kept} kept, room for ${room}`);
    }),
    { numRuns: 500 },
  );
});
