// What a worker does with a request, joined: repeats what it may, hands the rest on, and sends by itself what it is
// offered.

import type { Logger } from 'pino'
import type { ReadyRoute } from '../../fast-path/cached-route.ts'
import type { Repo } from '../../hub/names.ts'
import { FileReads } from '../../server/body/file-reads.ts'
import type { HandoffResult } from '../../server/body/handoff.ts'
import type { ClientLists } from '../../server/clients.ts'
import { createLayout } from '../../store/layout.ts'
import { flushRequests } from '../../telemetry/log.ts'
import type { WorkerSettings } from '../messages.ts'
import { createMemory, type Pin } from './cache.ts'
import { createForwarder } from './forward.ts'
import type { Accounts } from './report.ts'
import { takeOffer } from './send-file.ts'
import type { Exchange } from './server.ts'

export interface Answerer {
  /** Answers what it can. */
  readonly ready: ReadyRoute
  forward(exchange: Exchange): void
  /** After it nothing of the repo is repeated. */
  forget(repo: Repo): void
  /** Other networks of clients are served from now on, and nothing of before is repeated. */
  change(clients: ClientLists): void
  /** Resolves when the main process has heard of everything that was answered. */
  idle(): Promise<void>
}

export function createAnswerer(
  settings: Pick<
    WorkerSettings,
    'socketPath' | 'cacheDir' | 'basePath' | 'via' | 'trustProxy' | 'clients' | 'memoryBytes'
  >,
  rooms: {
    readonly logger: Logger
    readonly accounts: Pick<Accounts, 'observer' | 'auditor' | 'flush'>
    readonly monotonic: () => number
    readonly tellTaken: (id: number, taken: HandoffResult) => void
    readonly tellPins: (pins: readonly Pin[]) => void
  },
): Answerer {
  const { logger, accounts, monotonic, tellTaken, tellPins } = rooms
  const { observer, auditor } = accounts
  let { clients } = settings
  const memory = createMemory({
    ...settings,
    clients: {
      get allow() {
        return clients.allow
      },
      get deny() {
        return clients.deny
      },
    },
    maxBytes: settings.memoryBytes,
    monotonic,
    accounts: { logger, observer, auditor },
    tellPins,
  })
  const offerOptions = {
    layout: createLayout(settings.cacheDir),
    reads: new FileReads(),
    tell: tellTaken,
    onTrouble: (error: unknown) => logger.warn({ err: error }, 'a worker cannot read a stored file'),
  }
  const forwarder = createForwarder({
    socketPath: settings.socketPath,
    memory,
    accounts: { logger, observer, auditor },
    takeOffer: (offer, answer) => void takeOffer(offer, answer, offerOptions),
  })
  return {
    ready: memory.route,
    forward: (exchange) => forwarder.forward(exchange),
    forget: (repo) => memory.forget(repo),
    change(next) {
      clients = next
      memory.forgetAll()
    },
    async idle() {
      await forwarder.idle()
      memory.flush()
      flushRequests(logger)
      accounts.flush()
    },
  }
}
