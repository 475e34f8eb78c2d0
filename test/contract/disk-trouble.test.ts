import { describeTrouble } from '../support/disk-trouble.ts'

// test/long/disk-trouble.test.ts has the other codes.
describeTrouble(['EIO'])
