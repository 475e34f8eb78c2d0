// The mirror's own TLS, if the settings ask for it: follows its files, and reports what an operator must know of them. The
// connections themselves are in server/tls-server.ts.

import type { Logger } from 'pino'
import { FollowedTls } from './config/followed-tls.ts'
import type { Config } from './config/keys.ts'
import { type TlsMaterial, tlsPathsOf, validityNotice } from './config/tls-files.ts'
import type { Check } from './server/ops-routes.ts'
import type { Observer } from './telemetry/observer.ts'

/** The files are checked when a client connects, when the metrics are read, and after this time. */
const CHECK_INTERVAL_MS = 3_600_000

export interface OwnTls {
  /** What handshakes that begin now use. Checks the files at most once a second. The same object until a file changes. */
  current(): TlsMaterial
  /** Checks the files now, and whether the certificate is valid. Never throws. */
  check(): void
  /** Whether the certificate is valid, for /readyz. */
  validity(): Check
  /** Ends the checks. */
  stop(): void
}

/** Reads the files. Returns undefined if the settings name none. Throws if they cannot be used. */
export function openTls(
  config: Config,
  deps: {
    readonly observer: Pick<Observer, 'tlsCertificate'>
    readonly logger: Logger
    /** Wall clock in epoch ms. */
    readonly now: () => number
    readonly monotonic: () => number
  },
): OwnTls | undefined {
  const paths = tlsPathsOf(config)
  if (paths === undefined) return undefined
  const { observer, logger, now, monotonic } = deps
  let warnedOf: TlsMaterial | undefined
  const warn = (material: TlsMaterial): void => {
    const notice = validityNotice(material, now())
    if (notice === undefined || material === warnedOf) return
    warnedOf = material
    logger.warn({ validTo: dateOf(material) }, notice)
  }
  const use = (material: TlsMaterial): void => {
    observer.tlsCertificate(material.validTo / 1000)
    warn(material)
  }
  const files = new FollowedTls({
    paths,
    monotonic,
    onChange(material) {
      logger.info(
        { validTo: dateOf(material) },
        'the TLS files have changed; new connections use the new ones',
      )
      use(material)
    },
    onFault: ({ name, cure }) =>
      logger.error(
        { path: paths[name], reason: cure },
        'the TLS files have changed and cannot be used; the last valid ones stay in use',
      ),
  })
  use(files.current())
  const check = (): void => {
    files.check()
    warn(files.current())
  }
  const timer = setInterval(check, CHECK_INTERVAL_MS).unref()
  return {
    current: () => files.current(),
    check,
    validity() {
      const notice = validityNotice(files.current(), now())
      return notice === undefined ? { ok: true } : { ok: false, detail: notice }
    },
    stop: () => clearInterval(timer),
  }
}

function dateOf({ validTo }: TlsMaterial): string {
  return new Date(validTo).toISOString()
}
