import { describeUnclear, FURTHER_UNCLEAR } from '../../support/unclear-addresses.ts'

// test/integration/unclear-addresses.test.ts has one or two of each kind.
describeUnclear(FURTHER_UNCLEAR)
