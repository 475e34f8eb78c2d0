// A process that takes a directory, says so, and holds it until its standard input ends. It uses the build, so that it
// starts without a compiler: needs `npm run build`.

import { createLayout } from '../../dist/store/layout.js'
import { DirectoryInUse, loadKernelLock, lockDirectory } from '../../dist/store/lock.js'

const [root = '', how] = process.argv.slice(2)
const kernel = how === 'kernel' ? await loadKernelLock() : undefined
if (how === 'kernel' && kernel === undefined) throw new Error('the addon is not there')
try {
  const unlock = await lockDirectory(createLayout(root), kernel)
  console.log('held')
  process.stdin.resume()
  process.stdin.on('end', () => void unlock().then(() => console.log('let go')))
} catch (error) {
  if (!(error instanceof DirectoryInUse)) throw error
  console.log('in use')
}
