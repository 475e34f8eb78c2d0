import { describeTable } from '../support/access-table-run.ts'

describeTable('warm')
