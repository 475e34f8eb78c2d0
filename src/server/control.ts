// The control server: the commands of this machine send their requests here, over a Unix socket in the store. It serves what
// the port for clients serves, by the same steps, and in addition two kinds of requests for files (`wishOf`), and the
// intake (intake-routes.ts). Who may open the socket is decided by the folder that it lies in, which belongs to store/. It never
// listens on a network.

import type { IncomingMessage, RequestListener } from 'node:http'
import type { Logger } from 'pino'
import type { Answer } from '../mirror/answer.ts'
import { surviveAcceptErrors } from './accept-errors.ts'
import { MAX_HEADER_BYTES, openServer } from './limits.ts'
import { setRemoteAddress } from './node-http.ts'
import type { Shutdown } from './shutdown.ts'

/** Commands count as callers on this machine. */
const ADDRESS = '127.0.0.1'
/** A command has eight requests in flight. */
const MAX_CONNECTIONS = 64

/** The field by which a command says what it wants of a file. It counts on the control socket only. */
export const WISH_FIELD = 'x-hubmirror-wish'

/** `store`: fetch the file into the store and report on it. `look`: say whether the file is stored. */
export type Wish = 'store' | 'look'

/**
 * On the control socket, a request has it with the value `spare` if it must leave the last tenth of the Hub's quota for clients. An
 * answer has it with the value `left` if the request was refused for that reason.
 */
export const QUOTA_FIELD = 'x-hubmirror-quota'

/** Below it are the routes of the mirror itself, which the Hub has not. */
const OWN_ROUTES = '/-/'
/** What the mirror says about its pins. It is there on the control socket only. */
export const PINS_ROUTE = '/-/control/pins'
/**
 * `GET …?blob=<key>/<size>&git=<owner>…` says that a command has removed these from the store, and perhaps facts. On the control
 * socket only.
 */
export const REMOVED_ROUTE = '/-/control/removed'
/** A target has a longest length, as part of a head: MAX_HEADER_BYTES. */
const LONGEST_TARGET = MAX_HEADER_BYTES / 2

/** What a command has removed. Of a blob also what an unfinished download had left. */
export interface Removed {
  readonly blobs: readonly { readonly key: string; readonly sizeBytes: number }[]
  /** Owners of git repositories. */
  readonly gits: readonly string[]
}

/** The targets that name all of this, at least one. */
export function removedTargets({ blobs, gits }: Removed): readonly string[] {
  const parts = [
    ...blobs.map(({ key, sizeBytes }) => `blob=${key}/${sizeBytes}`),
    ...gits.map((owner) => `git=${encodeURIComponent(owner)}`),
  ]
  const targets: string[] = []
  let target = `${REMOVED_ROUTE}?`
  for (const part of parts) {
    if (target.length + part.length > LONGEST_TARGET) {
      targets.push(target)
      target = `${REMOVED_ROUTE}?`
    }
    target += `${part}&`
  }
  return [...targets, target]
}

/** What a target names. */
export function parseRemoved(target: string): Removed {
  const query = new URLSearchParams(target.slice(REMOVED_ROUTE.length))
  const blobs = query.getAll('blob').flatMap((item) => {
    const [, key, size] = /^([a-z0-9]+:[0-9a-f]+)\/(\d{1,15})$/.exec(item) ?? []
    return key === undefined ? [] : [{ key, sizeBytes: Number(size) }]
  })
  return { blobs, gits: query.getAll('git') }
}

/** The answer to such a target: how much it names, so that a mirror which does not know what it names cannot seem to have done it. */
export function removedAnswer({ blobs, gits }: Removed): string {
  return JSON.stringify({ blobs: blobs.length, gits: gits.length })
}

/** Whether a text is that answer to a target. */
export function isRemovedAnswer(text: string, target: string): boolean {
  return text === removedAnswer(parseRemoved(target))
}

const fromControl = new WeakSet<IncomingMessage>()

/** Whether the request has come by the control socket, so that its sender is the owner of the store. */
export function isFromControl(request: IncomingMessage): boolean {
  return fromControl.has(request)
}

/** What a command wants of the file that its GET names, in place of its bytes. Undefined for requests of clients. */
export function wishOf(request: IncomingMessage): Wish | undefined {
  if (!isFromControl(request) || request.method !== 'GET') return undefined
  const wish = request.headers[WISH_FIELD]
  return wish === 'store' || wish === 'look' ? wish : undefined
}

/** Whether the request must leave the last tenth of the Hub's quota for clients. */
export function sparesQuota(request: IncomingMessage): boolean {
  return isFromControl(request) && request.headers[QUOTA_FIELD] === 'spare'
}

/** Why such a request is not answered. */
export const QUOTA_LEFT = "the last tenth of the Hub's quota is left for clients"

/** The answer to such a request for the next `waitMs`. */
export function quotaAnswer(waitMs: number): Answer {
  return {
    status: 429,
    headers: {
      'content-type': 'application/json',
      'cache-control': 'no-store',
      'retry-after': String(Math.ceil(waitMs / 1000)),
      [QUOTA_FIELD]: 'left',
    },
    outcome: 'own',
    body: { kind: 'bytes', bytes: Buffer.from(JSON.stringify({ error: QUOTA_LEFT })) },
  }
}

/** One control server. The caller must close it; that ends the requests that are under way. */
export interface ControlServer {
  /** Resolves when it listens. Rejects with the error of the system. */
  listen(path: string): Promise<void>
  /** Ends all connections and removes the socket. Resolves at once if it never listened. */
  close(): Promise<void>
}

/** Makes a server that hands its requests to `serve`. Their targets have no base path. */
export function createControlServer(
  serve: RequestListener,
  options: { readonly basePath: string; readonly shutdown: Shutdown; readonly logger: Logger },
): ControlServer {
  const { shutdown, logger } = options
  const basePath = options.basePath === '/' ? '' : options.basePath
  const server = openServer(
    (request, response) => {
      fromControl.add(request)
      const { url = '' } = request
      // The routes of the mirror itself are below no base path.
      request.url = url.startsWith(OWN_ROUTES) ? url : basePath + url
      serve(request, response)
    },
    MAX_HEADER_BYTES,
    shutdown,
  )
  server.maxConnections = MAX_CONNECTIONS
  server.on('connection', (socket) => setRemoteAddress(socket, ADDRESS))
  return {
    listen: (path) =>
      new Promise((resolve, reject) => {
        server.once('error', reject)
        server.listen({ path }, () => {
          server.off('error', reject)
          surviveAcceptErrors(server, logger)
          resolve()
        })
      }),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}
