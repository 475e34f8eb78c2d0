import { describeTable } from '../../support/access-table-run.ts'

// test/integration/access-table.test.ts has the other requests.
describeTable('warm', ['plain'], ['HEAD small', 'Range small', 'GET large', 'Range large', 'tree'])
