// `overload_protection`: what the node does as its memory fills up (docs/operations.md). Names are EMQX's where
// EMQX has one; there it is off by default and looks at the processor.
import { parseBytes } from '../hocon/units.js';
import type { OverloadConfig } from './config.js';
import { field, type ObjectShape, object, type Shape, scalar } from './shape.js';
import { duration, flag } from './shapes.js';

/** A node at rest has some 60 MB. */
const leastBytes = 32 * 1_048_576;
const expects = 'a percentage from 1% to 100% of the memory that the process may use, or a size of at least 32MB';

const watermark: Shape<OverloadConfig['watermark']> = scalar(expects, (text) => {
  const percent = /^([0-9]{1,3})%$/.exec(text);
  if (percent !== null) {
    const part = Number(percent[1]) / 100;
    return part > 0 && part <= 1 ? { part } : undefined;
  }
  const bytes = parseBytes(text);
  return bytes !== undefined && bytes >= leastBytes ? { bytes } : undefined;
});

export const overload: ObjectShape<OverloadConfig> = object<OverloadConfig>({
  enable: field('enable', flag, true),
  backoffNewConn: field('backoff_new_conn', flag, true),
  watermark: field<OverloadConfig['watermark']>('memory_high_watermark', watermark, { part: 0.7 }),
  checkIntervalMs: field('memory_check_interval', duration(50), 500),
});
