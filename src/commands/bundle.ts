// `hubmirror bundle create`, `verify` and `load`: runs them, and turns what they cannot do into a sentence and a status.

import type { Config } from '../config/keys.ts'
import { pathFilter } from '../hub/file-patterns.ts'
import { UnusableControlSocket } from '../store/control-socket.ts'
import { LocksUnsupported } from '../store/lock.ts'
import { createBundle } from './bundle/create.ts'
import { IntakeClient, Refused } from './bundle/intake-client.ts'
import { formatReport, loadBundle } from './bundle/load.ts'
import { UnusableBundle, withSource } from './bundle/parts.ts'
import { openBundle } from './bundle/read.ts'
import { NotStored } from './bundle/stored-repos.ts'
import { BadArchive } from './bundle/tar.ts'
import { verifyBundle } from './bundle/verify.ts'
import { isOneOf, runOverStore } from './interruptible.ts'
import type { Wanted } from './prefetch/listing.ts'
import { MirrorGone } from './prefetch/silence.ts'

/** The options of `create` on the command line. */
export interface BundleOptions {
  readonly file: string
  readonly wanted: readonly Wanted[]
  readonly include: readonly string[]
  readonly exclude: readonly string[]
  readonly withPrivate: boolean
  readonly splitBytes: number | undefined
  readonly since: string | undefined
}

/** Resolves with the exit status: 1 if something is not stored or cannot be written. No file is left then. */
export function runBundleCreate(config: Config, options: BundleOptions): Promise<number> {
  return explained(config.cacheDir, async (signal) => {
    const isMeant = pathFilter(options.include, options.exclude)
    await createBundle(config, { ...options, isMeant, signal })
    return 0
  })
}

/** Resolves with the exit status: 1 if the bundle is damaged or incomplete. */
export function runBundleVerify(file: string): Promise<number> {
  return explained(undefined, async (signal) => ((await verifyBundle(file, signal)) ? 0 : 1))
}

/** Resolves with the exit status: 1 if the bundle, or a repo of it, was not loaded. */
export function runBundleLoad(
  config: Config,
  options: { readonly file: string; readonly version: string },
): Promise<number> {
  const say = (line: string): void => void process.stderr.write(`${line}\n`)
  return explained(config.cacheDir, (signal) =>
    withSource(options.file, signal, async (source) => {
      const bundle = await openBundle(source)
      // Loaded on demand: it brings the modules of the whole mirror, which take a second.
      const { reachMirror } = await import('./prefetch/reach.ts')
      const reached = await reachMirror(config, { version: options.version, say, signal })
      try {
        const client = new IntakeClient(reached.socketPath, signal, reached.watch)
        const report = await loadBundle(bundle, { client, signal, say })
        process.stdout.write(formatReport(report))
        return report.leftOut.length === 0 ? 0 : 1
      } finally {
        await reached.close()
      }
    }),
  )
}

/** Failures that a sentence explains. */
const EXPLAINED = [
  NotStored,
  UnusableBundle,
  BadArchive,
  Refused,
  MirrorGone,
  UnusableControlSocket,
  LocksUnsupported,
]

function explained(
  cacheDir: string | undefined,
  work: (signal: AbortSignal) => Promise<number>,
): Promise<number> {
  return runOverStore(work, {
    cacheDir,
    isExplained: isOneOf(EXPLAINED),
    left: 'run the command again to go on',
  })
}
