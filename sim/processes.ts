// How processes of the simulator are started: by main.ts (`--jobs`) and campaign.ts.

/**
 * They make much garbage that dies at once, and there is one process for each processor: a large nursery is
 * emptied a tenth as often, and collectors of their own threads would only take turns with the other runs. Their code
 * is large and flat: functions that are compiled into others again and again cost more than their calls.
 */
export const runnerFlags: readonly string[] = ['--max-semi-space-size=64', '--single-threaded-gc', '--max-inlined-bytecode-size-cumulative=300'];
