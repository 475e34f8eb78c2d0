import { describeImplied } from '../../support/implied-answers.ts'

// test/integration/offline.test.ts has the same after a snapshot by huggingface_hub 2.
describeImplied('0')
