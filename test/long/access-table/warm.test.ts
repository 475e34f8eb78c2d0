import { describeTable } from '../../support/access-table-run.ts'

// test/integration/access-table.test.ts has the same with tokens of the Hub.
describeTable('warm', ['issued'])
