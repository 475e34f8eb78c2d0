import { describeTable } from '../support/access-table-run.ts'

// test/long/further/access-table.test.ts has the other requests.
describeTable('warm', ['plain'], ['HEAD large', 'GET small', 'info'])
