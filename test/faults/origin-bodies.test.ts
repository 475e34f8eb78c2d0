import { describeBodies } from '../support/origin-bodies.ts'

// test/long/further/origin-bodies.test.ts has the same for a repo that is private.
describeBodies('open')
