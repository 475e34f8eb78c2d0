import { describeTable } from '../../support/access-table-run.ts'

describeTable('origin down, in grace')
