// Reloads the settings at SIGHUP: reads them again, and applies those that may change while the mirror runs. If any setting
// has a fault, nothing changes. One reload runs at a time. Its result is in the log and in the audit log.

import type { Logger } from 'pino'
import type { App } from '../app.ts'
import { ConfigFaults } from '../config/faults.ts'
import type { Config } from '../config/keys.ts'
import type { LiveSettings } from '../config/live.ts'
import type { Auditor } from '../telemetry/audit.ts'

export interface ReloadDeps {
  /** Reads all settings again. Throws ConfigFaults. */
  readonly load: () => { readonly config: Config; readonly notices: readonly string[] }
  readonly app: Pick<App, 'change' | 'settings'>
  /** Sends the settings to the other processes. Resolves when they use them. */
  readonly changeOthers: (settings: LiveSettings) => Promise<void>
  readonly logger: Logger
  readonly auditor: Auditor
}

/** Returns the handler of SIGHUP. Signals that arrive while a reload waits for the previous one share that reload. */
export function createReload(deps: ReloadDeps): () => void {
  let running = Promise.resolve()
  let isWaiting = false
  return () => {
    if (isWaiting) return
    isWaiting = true
    running = running.then(async () => {
      isWaiting = false
      await reload(deps).catch((error: unknown) =>
        deps.logger.error({ err: error }, 'the settings cannot be read; nothing has changed'),
      )
    })
  }
}

async function reload({ load, app, changeOthers, logger, auditor }: ReloadDeps): Promise<void> {
  const act = (details: Parameters<Auditor['act']>[0]['details']): void =>
    auditor.act({ act: 'reload', by: { kind: 'mirror' }, details })
  let read: ReturnType<typeof load>
  try {
    read = load()
  } catch (error) {
    if (!(error instanceof ConfigFaults)) throw error
    logger.error({ faults: error.shown() }, 'the settings are wrong; nothing has changed')
    act({ result: 'refused', faults: error.faults.map(({ key }) => key) })
    return
  }
  const { changed, needRestart } = await app.change(read.config)
  logger.level = app.settings.logLevel
  await changeOthers(app.settings)
  logger.info({ changed }, 'the settings and the list of mirror tokens were read again')
  if (needRestart.length > 0)
    logger.warn({ settings: needRestart }, 'these settings have changed and need a restart')
  for (const notice of read.notices) logger.warn(notice)
  act({ result: 'done', changed, needRestart })
}
