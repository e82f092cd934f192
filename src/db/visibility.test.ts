import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Visibility, type VisibilityOptions } from './visibility.js';

/** A follower and its leader, messages kept until they are let through. */
function pair(): { follower: Visibility; leader: Visibility; effective: () => number; visible: (n: number) => void; deliver: () => void } {
  const way: (() => void)[] = [];
  let visibleAtFollower = 0;
  let effective = 0;
  const ends = new Map<string, Visibility>();
  const end = (id: string): Visibility => ends.get(id) as Visibility;
  const make = (id: string, other: string, role: string, visibleHere: () => number): Visibility => {
    const options = {
      shard: 'items',
      nodeId: id,
      links: { peer: () => ({}) },
      transport: {
        sendVisible: (to: string, _shard: string, index: number) => way.push(() => end(to).report(id, index)),
        sendBack: (to: string, _shard: string, index: number, token: number) => way.push(() => end(to).backReport(id, index, token)),
        sendWelcome: (to: string, _shard: string, token: number) => way.push(() => end(to).welcomed(id, token)),
      },
      raft: () => ({ role, leader: 'leader', config: { voters: [id, other], learners: [] }, termStartIndex: 5 }),
      leader: () => ({
        effective: (index: number) => {
          effective = index;
        },
        effectiveIndex: 0,
      }),
      visibleHere,
    };
    const made = new Visibility(options as unknown as VisibilityOptions);
    ends.set(id, made);
    return made;
  };
  const follower = make('follower', 'leader', 'follower', () => visibleAtFollower);
  const leader = make('leader', 'follower', 'leader', () => 100);
  leader.roleChanged('leader');
  return {
    follower,
    leader,
    effective: () => effective,
    visible: (n) => {
      visibleAtFollower = n;
    },
    deliver: () => {
      for (const message of way.splice(0)) message();
    },
  };
}

test('a core that copied tables counts only once the leader waits for it', () => {
  const p = pair();
  p.visible(Number.MAX_SAFE_INTEGER);
  p.follower.leave();
  p.deliver();
  assert.equal(p.effective(), 100, 'nobody waits for a core that copies');
  p.visible(60);
  p.follower.enter();
  assert.equal(p.follower.entering, true);
  p.deliver();
  assert.equal(p.effective(), 60, 'the leader waits for it');
  assert.equal(p.follower.entering, true, 'and it does not know that yet');
  p.deliver();
  assert.equal(p.follower.entering, false);
});

test('the answer to an earlier return is no answer to this one; a lost answer is asked for again', () => {
  const p = pair();
  p.visible(10);
  p.follower.enter();
  p.deliver();
  p.follower.leave();
  p.follower.enter();
  p.deliver();
  assert.equal(p.follower.entering, true, 'the first welcome came now');
  p.deliver();
  assert.equal(p.follower.entering, false);
  p.follower.enter();
  p.follower.again();
  p.deliver();
  p.deliver();
  assert.equal(p.follower.entering, false);
});

test('a core that starts counts once it has everything that may have been effective before', () => {
  const p = pair();
  p.visible(4);
  p.follower.moved();
  assert.equal(p.follower.entering, true, 'nobody has said that it counts');
  p.deliver();
  p.deliver();
  assert.equal(p.follower.entering, true, 'the leader’s term begins at 5');
  p.visible(5);
  p.follower.moved();
  p.deliver();
  p.deliver();
  assert.equal(p.follower.entering, false);
});
