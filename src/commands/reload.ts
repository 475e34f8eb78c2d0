// What SIGHUP does: it reads the settings again and applies those that may change while the mirror runs. Settings with a
// fault change nothing. One reading runs at a time; its result is in the log and in the audit log.

import { readFileSync, statSync } from 'node:fs'
import type { Logger } from 'pino'
import type { App } from '../app.ts'
import { ConfigFaults } from '../config/faults.ts'
import type { Config } from '../config/keys.ts'
import type { LiveSettings } from '../config/live.ts'
import type { Auditor } from '../telemetry/audit.ts'

/** Settings and secrets are small. The same limit applies when they are read at start. */
const FILE_MAX_BYTES = 1_000_000

export interface ReloadRooms {
  /** Reads all settings anew. Throws ConfigFaults. */
  readonly load: () => { readonly config: Config; readonly notices: readonly string[] }
  readonly app: Pick<App, 'change' | 'settings'>
  /** Resolves when the other processes use the settings. */
  readonly tellOthers: (settings: LiveSettings) => Promise<void>
  readonly logger: Logger
  readonly auditor: Auditor
}

/** Returns the handler of SIGHUP. Signals that arrive while a reading waits for the one before it share that reading. */
export function createReload(rooms: ReloadRooms): () => void {
  let running = Promise.resolve()
  let isWaiting = false
  return () => {
    if (isWaiting) return
    isWaiting = true
    running = running.then(async () => {
      isWaiting = false
      await reload(rooms).catch((error: unknown) =>
        rooms.logger.error({ err: error }, 'the settings cannot be read; nothing has changed'),
      )
    })
  }
}

async function reload({ load, app, tellOthers, logger, auditor }: ReloadRooms): Promise<void> {
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
  await tellOthers(app.settings)
  logger.info({ changed }, 'the settings and the list of mirror tokens were read again')
  if (needRestart.length > 0)
    logger.warn({ settings: needRestart }, 'these settings have changed and need a restart')
  for (const notice of read.notices) logger.warn(notice)
  act({ result: 'done', changed, needRestart })
}

/**
 * Reads a settings or secret file. It must be a regular one, since reading a pipe would block the process, and not empty.
 * Throws as node:fs.
 */
export function readRegularFile(path: string): string {
  const stats = statSync(path)
  if (!stats.isFile()) throw Object.assign(new Error('no regular file'), { code: 'no regular file' })
  // An editor that writes in place empties the file first. As settings it would take all rules away.
  if (stats.size === 0) throw Object.assign(new Error('the file is empty'), { code: 'it is empty' })
  if (stats.size > FILE_MAX_BYTES) throw Object.assign(new Error('the file is too large'), { code: 'EFBIG' })
  return readFileSync(path, 'utf8')
}
