import { describePages, FURTHER_PAGES } from '../support/intermediaries.ts'

// test/integration/intermediaries.test.ts has the first of each kind.
describePages(FURTHER_PAGES)
