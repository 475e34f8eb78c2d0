// The clients of the hosts that the mirror asks: the Hub, and the datasets-server beside it. Each sends credentials to its own
// host only.

import type { Logger } from 'pino'
import type { Dispatcher } from 'undici'
import type { Config } from './config/keys.ts'
import type { MirrorError } from './errors.ts'
import { datasetsServerBase } from './hub/datasets-server.ts'
import { createOriginClient, type OriginClient } from './origin/client.ts'
import { type Observer, silentObserver } from './telemetry/observer.ts'

/** `datasets` asks for two small answers a dataset. Rows and their images are for people to look at. */
const DATASETS_SERVER_CONNECTIONS = 8

interface ClientDeps {
  readonly via: string
  readonly observer: Observer
  readonly monotonic: () => number
  readonly dispatcher: Dispatcher | undefined
  readonly logger: Logger
}

export interface OriginClients {
  readonly client: OriginClient
  /** Undefined when the mirror asks no datasets-server. */
  readonly datasetsServer: OriginClient | undefined
}

interface OpenClients {
  readonly clients: OriginClients
  readonly closeClients: () => Promise<void>
}

/** The clients that the settings ask for. The caller must close them. */
export function originClientsOf(config: Config, deps: ClientDeps): OpenClients {
  const client = hubClientOf(config, deps)
  const datasetsServer = datasetsServerClientOf(config, deps)
  const closeClients = async () => void (await Promise.all([client.close(), datasetsServer?.close()]))
  return { clients: { client, datasetsServer }, closeClients }
}

function hubClientOf(config: Config, deps: ClientDeps): OriginClient {
  const { dispatcher, logger, monotonic: now, ...rest } = deps
  return createOriginClient({
    policy: { base: config.origin, allowedHosts: config.redirectHosts },
    timeoutMs: config.originTimeoutMs,
    connections: config.originConnections,
    onWait: (report) => logger.warn(report, 'requests wait for connections to the origin'),
    proxies: config.proxies,
    onReachabilityChange: originTurns(logger),
    onMoved: (place) =>
      logger.warn({ place }, 'the origin has moved; set HUBMIRROR_ORIGIN to its new address'),
    now,
    ...rest,
    ...(dispatcher === undefined ? {} : { dispatcher }),
  })
}

/**
 * Logs a line when the origin becomes unreachable and one when it is back. Meanwhile stored content is served without
 * errors.
 */
function originTurns(logger: Logger): (trouble: MirrorError | undefined) => void {
  return (trouble) => {
    if (trouble === undefined) logger.info('the origin is reachable again')
    else
      logger.warn({ code: trouble.code, ...trouble.detail }, `the origin is unreachable: ${trouble.message}`)
  }
}

function datasetsServerClientOf(config: Config, deps: ClientDeps): OriginClient | undefined {
  const base = datasetsServerOf(config)
  if (base === undefined) return undefined
  const { dispatcher, logger, observer, monotonic: now, ...rest } = deps
  return createOriginClient({
    policy: { base, allowedHosts: [] },
    timeoutMs: config.originTimeoutMs,
    connections: Math.min(DATASETS_SERVER_CONNECTIONS, config.originConnections),
    onWait: (report) => logger.warn(report, 'requests wait for connections to the datasets-server'),
    proxies: config.proxies,
    // It says nothing about the state of the Hub, or of the connections to it.
    observer: {
      ...silentObserver,
      originRequest: (kind, status, seconds) => observer.originRequest(kind, status, seconds),
    },
    now,
    ...rest,
    ...(dispatcher === undefined ? {} : { dispatcher }),
  })
}

/** As `datasets` derives its address. There is none for an origin that is an IP address. */
function datasetsServerOf({ datasetsServer, origin }: Config): URL | undefined {
  if (datasetsServer !== 'origin') return datasetsServer
  const text = datasetsServerBase(origin.href)
  return URL.canParse(text) ? new URL(text) : undefined
}
