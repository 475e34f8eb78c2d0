import {
  describeDropped,
  describePages,
  FURTHER_DROPPED,
  FURTHER_PAGES,
} from '../../support/intermediaries.ts'

// test/integration/intermediaries.test.ts has one of each kind.
describePages(FURTHER_PAGES)
describeDropped(FURTHER_DROPPED)
