import { describeTrouble } from '../support/disk-trouble.ts'

// test/contract/disk-trouble.test.ts has the first code.
describeTrouble(['ENOSPC', 'EMFILE', 'EACCES'])
