// Processes that must not outlive the test that started them, however that ends.

import { existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'

const isThere = (process.env['PATH'] ?? '')
  .split(delimiter)
  .some((folder) => existsSync(join(folder, 'setpriv')))

/**
 * What stands before a command, so that the kernel kills its process when the one that started it ends. Empty where the
 * system has no such means: there a process may remain of a run that is killed.
 */
export const WITH_PARENT: readonly string[] =
  process.platform === 'linux' && isThere ? ['setpriv', '--pdeathsig', 'KILL', '--'] : []

// A worker of the test runner would go on when the runner is killed, and keep what it has started.
process.once('disconnect', () => process.exit(1))
