// Topic Aliases that we set towards one client, of one connection: `deliver` asks for each PUBLISH.
// A name gets an alias with its first message while there are free ones. Once all are taken they go
// round by the clock algorithm: a name that has no alias takes away the mark of the alias under the
// hand, or, if that has no mark because its name was not sent since, the alias itself. A new one is marked. So what is sent
// often keeps its alias, and a stream of names that never come again costs a constant each.
// Invariant: an alias means the name that was last sent with it; whoever `claim`s must send.

/** A shorter name costs no more than the alias in its place. */
const nameLengthMin = 4;

export class OutAliases {
  /** At most the client's Topic Alias Maximum. [MQTT-3.1.2-26] [MQTT-3.3.2-11] */
  readonly max: number;
  readonly #aliases = new Map<string, number>();
  /** By alias, from 1 on [MQTT-3.3.2-8]; index 0 is not used. */
  readonly #names: string[] = [''];
  readonly #marked: boolean[] = [false];
  #hand = 1;

  constructor(max: number) {
    this.max = max;
  }

  /** The alias that the client knows for the name; 0: none. */
  find(topicName: string): number {
    const alias = this.#aliases.get(topicName);
    if (alias === undefined) return 0;
    this.#marked[alias] = true;
    return alias;
  }

  /** An alias for a name that has none, to be sent with it now; 0: none is to be had. */
  claim(topicName: string): number {
    if (topicName.length < nameLengthMin) return 0;
    let alias = this.#names.length;
    if (alias > this.max) {
      alias = this.#hand;
      this.#hand = alias === this.max ? 1 : alias + 1;
      if (this.#marked[alias] === true) {
        this.#marked[alias] = false;
        return 0;
      }
      this.#aliases.delete(this.#names[alias] as string);
    }
    this.#aliases.set(topicName, alias);
    this.#names[alias] = topicName;
    this.#marked[alias] = true;
    return alias;
  }
}
