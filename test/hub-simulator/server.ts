// Starts and stops the simulated Hub: a Hub server, a CDN server and a datasets-server on hosts of loopback, because the rules
// about credentials are rules about hosts. Knows no route.

import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import { type AddressInfo, isIP } from 'node:net'
import { answerCdn, cdnHeaders } from './cdn.ts'
import { answerDatasetsServer } from './datasets-server.ts'
import { Exchange, type ExchangeSetup } from './exchange.ts'
import { Faults } from './faults.ts'
import { GitServer } from './git-server.ts'
import { type HubState, hubHeaders } from './hub.ts'
import { Ledger } from './ledger.ts'
import { World } from './repos.ts'
import { answerHub } from './routes.ts'

/** Options of a simulator. */
export interface HubOptions {
  readonly port?: number
  readonly cdnPort?: number
  /** An address of loopback, or a name that leads to 127.0.0.1 such as `cdn.localhost`. Default 127.0.0.2. */
  readonly cdnHost?: string
  /** Where redirects to the CDN lead instead: the base URL of a server that the caller runs. */
  readonly cdnUrl?: string
  readonly world?: World
  /** Send X-Xet-Hash, the Xet links and xetHash as the Hub does. Default true. */
  readonly xet?: boolean
  /** Entries of a tree page. Default 1000. */
  readonly pageSize?: number
  /** Larger LFS objects are uploaded in parts of this size. Default: none is. */
  readonly partBytes?: number
  /** How long a CDN URL is good. Default 3600; negative: expired from the start. */
  readonly signedUrlSeconds?: number
  /** Ceiling for the bytes of files, per connection. Default none. */
  readonly bytesPerSecondPerConnection?: number
}

/** A simulator that runs. The caller must close it. */
export interface Hub {
  readonly url: string
  readonly cdnUrl: string
  readonly datasetsServerUrl: string
  readonly world: World
  readonly ledger: Ledger
  readonly faults: Faults
  signedUrlSeconds: number
  bytesPerSecond: number | undefined
  /** Ends for good; open connections are cut. */
  close(): Promise<void>
  /** Goes away: connections are cut, new ones refused. World, ledger and faults stay. */
  stop(): Promise<void>
  /** Comes back on the same ports. */
  start(): Promise<void>
}

const HUB_HOST = '127.0.0.1'
const DATASETS_SERVER_HOST = '127.0.0.3'

/** Starts a simulator, on free ports by default. Rejects when a port is taken. */
export async function startHub(options: HubOptions = {}): Promise<Hub> {
  const world = options.world ?? new World()
  const ledger = new Ledger()
  const faults = new Faults()
  const cdnName = options.cdnHost ?? '127.0.0.2'
  const cdnHost = isIP(cdnName) === 0 ? HUB_HOST : cdnName
  const ports = { hub: options.port ?? 0, cdn: options.cdnPort ?? 0, datasetsServer: 0 }
  const state: HubState = {
    world,
    get url() {
      return `http://${HUB_HOST}:${ports.hub}`
    },
    get cdnUrl() {
      return options.cdnUrl ?? `http://${cdnName}:${ports.cdn}`
    },
    get datasetsServerUrl() {
      return `http://${DATASETS_SERVER_HOST}:${ports.datasetsServer}`
    },
    xet: options.xet ?? true,
    pageSize: options.pageSize ?? 1000,
    partBytes: options.partBytes ?? Number.POSITIVE_INFINITY,
    parts: new Map(),
    git: new GitServer(),
    secret: randomBytes(16).toString('hex'),
    signedUrlSeconds: options.signedUrlSeconds ?? 3600,
    bytesPerSecond: options.bytesPerSecondPerConnection,
  }
  const shared = { ledger, faults, bytesPerSecond: () => state.bytesPerSecond }
  const hubSetup: ExchangeSetup = { ...shared, server: 'hub', standing: hubHeaders }
  const cdnSetup: ExchangeSetup = { ...shared, server: 'cdn', standing: cdnHeaders }
  const datasetsSetup: ExchangeSetup = { ...shared, server: 'datasets-server', standing: () => ({}) }
  let servers: readonly Server[] = []

  const start = async () => {
    if (servers.length > 0) return
    const hubServer = serve(hubSetup, (exchange) => answerHub(state, exchange))
    const cdnServer = serve(cdnSetup, (exchange) => answerCdn(state, exchange))
    const datasetsServer = serve(datasetsSetup, (exchange) => answerDatasetsServer(state, exchange))
    servers = [hubServer, cdnServer, datasetsServer]
    try {
      ports.hub = await listen(hubServer, ports.hub, HUB_HOST)
      ports.cdn = await listen(cdnServer, ports.cdn, cdnHost)
      ports.datasetsServer = await listen(datasetsServer, ports.datasetsServer, DATASETS_SERVER_HOST)
    } catch (error) {
      await stop()
      throw error
    }
  }
  const stop = async () => {
    const running = servers
    servers = []
    faults.release()
    await Promise.all(running.map(shut))
  }

  await start()
  return {
    url: state.url,
    cdnUrl: state.cdnUrl,
    datasetsServerUrl: state.datasetsServerUrl,
    world,
    ledger,
    faults,
    get signedUrlSeconds() {
      return state.signedUrlSeconds
    },
    set signedUrlSeconds(seconds) {
      state.signedUrlSeconds = seconds
    },
    get bytesPerSecond() {
      return state.bytesPerSecond
    },
    set bytesPerSecond(rate) {
      state.bytesPerSecond = rate
    },
    async close() {
      await stop()
      await state.git.close()
    },
    stop,
    start,
  }
}

function serve(setup: ExchangeSetup, answer: (exchange: Exchange) => Promise<void>): Server {
  const server = createServer({ keepAliveTimeout: 60_000 }, (request, response) => {
    const exchange = new Exchange(setup, request, response)
    const run = async () => {
      if (!(await exchange.preempt())) await answer(exchange)
    }
    run().catch((error: unknown) => {
      // A caller that left is no fault. Anything else is a fault of the simulator, and must be visible.
      if (!response.destroyed && !request.destroyed) console.error('hub simulator:', error)
      exchange.abort()
    })
  })
  server.on('clientError', (_error, socket) => {
    socket.destroy()
  })
  return server
}

async function listen(server: Server, port: number, host: string): Promise<number> {
  server.listen(port, host)
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}

async function shut(server: Server): Promise<void> {
  if (!server.listening) return
  const closed = once(server, 'close')
  server.close()
  server.closeAllConnections()
  await closed
}
