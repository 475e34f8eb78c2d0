// The parts of a worker, joined: it answers from its cache, forwards all other requests, and sends offered files itself.

import type { Logger } from 'pino'
import type { CachedRoute } from '../../fast-path/cached-route.ts'
import type { Repo } from '../../hub/names.ts'
import { FileReads } from '../../server/body/file-reads.ts'
import type { HandoffResult } from '../../server/body/handoff.ts'
import type { ClientLists } from '../../server/clients.ts'
import { createLayout } from '../../store/layout.ts'
import { flushRequests } from '../../telemetry/log.ts'
import type { WorkerSettings } from '../messages.ts'
import { createWorkerCache, type PromisedCommit } from './cache.ts'
import { createForwarder } from './forward.ts'
import type { Reporter } from './report.ts'
import { sendOffered } from './send-file.ts'
import type { Exchange } from './server.ts'

export interface WorkerApp {
  /** Answers from the cache. */
  readonly cachedRoute: CachedRoute
  forward(exchange: Exchange): void
  /** Drops all cached answers about the repo. */
  invalidate(repo: Repo): void
  /** Serves these networks from now on, and drops all cached answers. */
  change(clients: ClientLists): void
  /** Resolves when all forwarded requests have ended, and all reports have been sent. */
  idle(): Promise<void>
}

export function createWorkerApp(
  settings: Pick<
    WorkerSettings,
    'socketPath' | 'cacheDir' | 'basePath' | 'via' | 'trustProxy' | 'clients' | 'memoryBytes'
  >,
  deps: {
    readonly logger: Logger
    readonly reporters: Pick<Reporter, 'observer' | 'auditor' | 'flush'>
    readonly monotonic: () => number
    readonly reportHandoff: (id: number, result: HandoffResult) => void
    readonly reportPromises: (promises: readonly PromisedCommit[]) => void
  },
): WorkerApp {
  const { logger, reporters, monotonic, reportHandoff, reportPromises } = deps
  const { observer, auditor } = reporters
  let { clients } = settings
  const cache = createWorkerCache({
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
    reporters: { logger, observer, auditor },
    reportPromises,
  })
  const sendOptions = {
    layout: createLayout(settings.cacheDir),
    reads: new FileReads(),
    report: reportHandoff,
    onTrouble: (error: unknown) => logger.warn({ err: error }, 'a worker cannot read a stored file'),
  }
  const forwarder = createForwarder({
    socketPath: settings.socketPath,
    cache,
    reporters: { logger, observer, auditor },
    sendOffered: (offer, answer) => void sendOffered(offer, answer, sendOptions),
  })
  return {
    cachedRoute: cache.route,
    forward: (exchange) => forwarder.forward(exchange),
    invalidate: (repo) => cache.invalidate(repo),
    change(next) {
      clients = next
      cache.invalidateAll()
    },
    async idle() {
      await forwarder.idle()
      cache.flush()
      flushRequests(logger)
      reporters.flush()
    },
  }
}
