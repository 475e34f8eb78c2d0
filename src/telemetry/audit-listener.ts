// What happens when the audit log cannot be written.

import type { Logger } from 'pino'
import type { AuditListener } from './audit.ts'
import type { Observer } from './observer.ts'

/** Reports that the audit log cannot be written. Requests are served all the same. */
export function auditListener(observer: Observer, logger: Logger): AuditListener {
  return {
    onFailed(error) {
      observer.auditDegraded(true)
      logger.error({ err: error }, 'the audit log cannot be written; its lines are kept in memory')
    },
    onRecovered() {
      observer.auditDegraded(false)
      logger.info('the audit log can be written again')
    },
    onLost: () => observer.auditLost(),
  }
}
