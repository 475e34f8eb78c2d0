import { describeTrouble } from '../support/disk-trouble.ts'

// test/contract/disk-trouble.test.ts has the other codes.
describeTrouble(['EMFILE', 'EACCES'])
