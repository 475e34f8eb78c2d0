import { describeDamages, FURTHER_DAMAGES } from '../support/long-bodies.ts'

// test/integration/long-bodies.test.ts has the first of each kind.
describeDamages(FURTHER_DAMAGES)
