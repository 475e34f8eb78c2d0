import { describeTable } from '../../support/access-table-run.ts'

// The same with tokens of the Hub: test/integration/access-table.test.ts and test/long/further/access-table.test.ts.
describeTable('warm', ['issued'])
