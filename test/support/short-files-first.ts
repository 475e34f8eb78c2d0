// The order in which files of tests start. Vitest starts large files first where it does not know how long each took. A short
// file calls a function of test/support/ that declares many tests, so it would start last, and run alone at the end.

import { statSync } from 'node:fs'
import { BaseSequencer, type TestSpecification } from 'vitest/node'

/** More than a call and its comment. */
const SHORT_BYTES = 1_000

/** Starts short files before all others. */
export class ShortFilesFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files)
    const isShort = ({ moduleId }: TestSpecification) => statSync(moduleId).size < SHORT_BYTES
    return [...sorted.filter(isShort), ...sorted.filter((file) => !isShort(file))]
  }
}
