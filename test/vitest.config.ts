import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'
import { builtSources } from './support/built-sources.ts'
import { ShortFilesFirst } from './support/short-files-first.ts'

const root = fileURLToPath(new URL('..', import.meta.url))

/**
 * Tests load the modules of the mirror from the build, but for those of a project that `replacesModules` by others.
 * `shared`: the files run in few processes, each of which loads a module once. To load the modules takes longer than most
 * files. What a test replaces in a class, it must restore then.
 * `inMemory`: the folders of the tests lie in memory, if the machine has room there. Those of test/faults do not.
 */
function project(
  name: string,
  options: {
    timeoutMs: number
    parallel?: boolean
    /** How many files run at once, if it is another number than that of the other projects. */
    workers?: number
    shared?: boolean
    replacesModules?: boolean
    inMemory?: boolean
    /** The folder of its tests below `test`, if that is not its name. */
    folder?: string
    /** A folder within it that belongs to another project. */
    without?: string
  },
) {
  const isBuilt = options.replacesModules !== true
  const folder = `test/${options.folder ?? name}`
  return {
    root,
    plugins: isBuilt ? [builtSources(root)] : [],
    test: {
      name,
      include: [`${folder}/**/*.test.ts`],
      ...(options.without !== undefined && { exclude: [`${folder}/${options.without}/**`] }),
      isolate: options.shared !== true,
      ...(isBuilt && {
        execArgv: ['--enable-source-maps'],
        server: { deps: { external: [/\/dist\/.*\.c?js$/] } },
      }),
      setupFiles: [
        'test/support/no-network.ts',
        ...(options.inMemory === true ? ['test/support/stores-in-memory.ts'] : []),
      ],
      testTimeout: options.timeoutMs,
      hookTimeout: options.timeoutMs,
      fileParallelism: options.parallel ?? true,
      // Projects that differ in this run one after the other.
      ...(options.workers !== undefined && { maxWorkers: options.workers, sequence: { groupOrder: 1 } }),
    },
  }
}

export default defineConfig({
  root,
  test: {
    reporters: ['default', fileURLToPath(new URL('./support/count-reporter.ts', import.meta.url))],
    // More than the usual cores: many tests wait for a process or a socket.
    maxWorkers: 4,
    sequence: { sequencer: ShortFilesFirst },
    projects: [
      // A time limit is there to end a test that hangs. It must be far beyond what a test takes on a busy machine.
      // These are one project, because the processes of each project load all modules again.
      project('short', {
        timeoutMs: 300_000,
        shared: true,
        inMemory: true,
        folder: '{unit,integration,faults}',
      }),
      project('contract', { timeoutMs: 300_000, replacesModules: true }),
      // Need rights of root, and are skipped without them.
      project('root', { timeoutMs: 300_000 }),
      // Repeat a fault for minutes, or play further states of the access table; for .ci/run only.
      project('long', { timeoutMs: 900_000, replacesModules: true, without: 'further' }),
      // Further rows and sizes of what unit, integration and faults play, in the same way; for .ci/run only.
      project('long-further', { timeoutMs: 300_000, shared: true, folder: 'long/further' }),
      project('clients', { timeoutMs: 300_000, workers: 2 }),
      project('cache-suite', { timeoutMs: 300_000, parallel: false }),
      project('deploy', { timeoutMs: 300_000, parallel: false }),
    ],
  },
})
