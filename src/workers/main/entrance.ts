// The way in by workers: they take the clients' connections, and come to this process by a private socket.

import type { Server } from 'node:http'
import type { DestinationStream, Logger } from 'pino'
import type { Mirror } from '../../mirror/mirror.ts'
import { surviveAcceptErrors } from '../../server/accept-errors.ts'
import type { TlsKeys } from '../../server/tls-server.ts'
import type { Auditor } from '../../telemetry/audit.ts'
import type { Observer } from '../../telemetry/observer.ts'
import { runKey } from '../../telemetry/run-key.ts'
import { makePrivateSocket, removePrivateSocket } from '../private-socket.ts'
import { startPool } from './pool.ts'
import type { WorkerLink } from './worker-link.ts'

/** What the workers know of this process, and it of them. */
export interface ForWorkers {
  readonly link: WorkerLink
  readonly via: string
  readonly observer: Observer
  readonly auditor: Auditor
  readonly mirror: Pick<Mirror, 'recordHeadCommit'>
  /** The mirror's own TLS, which the workers speak. */
  readonly tls: { current(): TlsKeys } | undefined
}

/** What is asked of the app. */
interface AppWithWorkers {
  readonly server: { readonly server: Server; listen(where: PrivatePlace): Promise<unknown> }
  readonly forWorkers: ForWorkers | undefined
  close(): Promise<void>
}

interface PrivatePlace {
  readonly path: string
  readonly backlog: number
}

/** Settings that may change while workers run. */
interface ChangingSettings {
  readonly clientsAllow: readonly string[]
  readonly clientsDeny: readonly string[]
  readonly logLevel: string
}

/** The settings that workers need, under their names in the configuration. */
interface WorkersConfig extends ChangingSettings {
  readonly host: string
  readonly port: number
  readonly workers: number
  readonly basePath: string
  readonly trustProxy: readonly string[]
  readonly cacheDir: string
  readonly memoryCacheBytes: number
  readonly auditLog?: unknown
}

/** Connections of workers that may wait to be taken: as many as the system allows. */
const BACKLOG = 4096

/**
 * Starts the workers and resolves when all of them take connections; with undefined where the app has none. Rejects with
 * the system's error, with nothing left running.
 */
export async function listenByWorkers(
  app: AppWithWorkers,
  config: WorkersConfig,
  log: { readonly logger: Logger; readonly destination: DestinationStream },
) {
  const { forWorkers } = app
  if (forWorkers === undefined) return undefined
  const socket = await makePrivateSocket()
  try {
    await app.server.listen({ path: socket.path, backlog: BACKLOG })
    surviveAcceptErrors(app.server.server, log.logger)
    await socket.lock()
    const { tls } = forWorkers
    const { basePath, trustProxy, cacheDir, logLevel } = config
    const settings = {
      basePath,
      trustProxy,
      cacheDir,
      logLevel,
      clients: clientsOf(config),
      memoryBytes: config.memoryCacheBytes / 4,
      isAudited: config.auditLog !== undefined,
      socketPath: socket.path,
      via: forWorkers.via,
      runKey: runKey(),
      tls: tls?.current(),
    }
    const pool = await startPool(config, {
      count: config.workers,
      settings,
      ...forWorkers,
      ...log,
      tls: tls && (() => tls.current()),
    })
    return {
      port: pool.port,
      change: (next: ChangingSettings) => pool.change({ clients: clientsOf(next), logLevel: next.logLevel }),
      leave: () => pool.leave(),
      async close() {
        await pool.drain()
        // Before the app closes, which takes time: a signal that ends this process at once leaves nothing behind then.
        try {
          removePrivateSocket(socket.path)
        } finally {
          await app.close()
        }
      },
      cut: () => pool.cut(),
    }
  } catch (error) {
    removePrivateSocket(socket.path)
    throw error
  }
}

/** Plain lists: they are sent to other processes. */
function clientsOf({ clientsAllow, clientsDeny }: ChangingSettings) {
  return { allow: clientsAllow, deny: clientsDeny }
}
