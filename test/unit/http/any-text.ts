// Text of any code points for property tests: lone surrogates and controls too, ASCII most often.

import * as fc from 'fast-check'

/** fast-check's own unit 'binary' covers the same, but takes seconds to set up. */
export function anyText(options: fc.ArrayConstraints = {}): fc.Arbitrary<string> {
  const codePoint = fc.oneof(fc.nat(0x7f), fc.nat(0xff), fc.nat(0xffff), fc.nat(0x10ffff))
  return fc.array(codePoint, options).map((points) => String.fromCodePoint(...points))
}
