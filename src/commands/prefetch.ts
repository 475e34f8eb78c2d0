// `hubmirror prefetch`: has files of repos fetched into the store before clients ask for them. Beside a running mirror that
// mirror fetches them, so that each file is still fetched once; without one, this process does.

import type { Config } from '../config/keys.ts'
import { pathFilter } from '../hub/file-patterns.ts'
import { UnusableControlSocket } from '../store/control-socket.ts'
import { LocksUnsupported } from '../store/lock.ts'
import { isOneOf, runOverStore } from './interruptible.ts'
import { ControlClient } from './prefetch/control-client.ts'
import { runJob } from './prefetch/job.ts'
import type { Wanted } from './prefetch/listing.ts'
import { createProgress } from './prefetch/progress.ts'
import { reachMirror } from './prefetch/reach.ts'
import { formatJson, formatText, isComplete } from './prefetch/result.ts'
import { MirrorGone } from './prefetch/silence.ts'

/** The options of the command line. */
export interface PrefetchOptions {
  readonly wanted: readonly Wanted[]
  readonly include: readonly string[]
  readonly exclude: readonly string[]
  readonly dryRun: boolean
  readonly json: boolean
  readonly version: string
  /** The Hub token, or mirror token, of the user who runs the command. */
  readonly token: string | undefined
}

/**
 * Prints progress to stderr and the result to stdout. Resolves with the exit status: 0 if all files are stored, 1 if one is
 * missing, and 130 after SIGINT or SIGTERM. What was fetched until then stays, and the next run goes on there.
 */
export function runPrefetch(config: Config, options: PrefetchOptions): Promise<number> {
  return runOverStore((signal) => prefetch(config, options, signal), {
    cacheDir: config.cacheDir,
    isExplained: isOneOf([MirrorGone, UnusableControlSocket, LocksUnsupported]),
    left: 'what was fetched stays, and the next run goes on there',
  })
}

async function prefetch(config: Config, options: PrefetchOptions, signal: AbortSignal): Promise<number> {
  const { wanted, include, exclude, dryRun, version } = options
  const progress = createProgress({ isQuiet: dryRun })
  const say = (line: string): void => progress.say(line)
  const reached = await reachMirror(config, { version, say, signal })
  const client = new ControlClient(reached.socketPath, { ...options, watch: reached.watch })
  try {
    const isMeant = pathFilter(include, exclude)
    const results = await runJob({ client, wanted, isMeant, dryRun, signal, observer: progress })
    progress.stop()
    process.stdout.write(options.json ? formatJson(results, options) : formatText(results, options))
    return isComplete(results) ? 0 : 1
  } finally {
    progress.stop()
    client.close()
    await reached.close()
  }
}
