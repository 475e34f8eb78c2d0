import { describeTable } from '../support/access-table-run.ts'

// test/long/access-table/warm.test.ts has the same with mirror tokens.
describeTable('warm', ['plain'])
