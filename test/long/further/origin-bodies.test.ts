import { describeBodies } from '../../support/origin-bodies.ts'

// test/faults/origin-bodies.test.ts has the same for a repo that is open.
describeBodies('private')
