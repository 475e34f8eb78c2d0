// What the doctor has found so far, in the words of the table.

import { CHECKS, type CheckId, type Status } from './checks.ts'
import { FINDINGS, type FindingId, fill, SKIPPED } from './table.ts'

export interface Line {
  readonly id: string
  readonly status: Status
  readonly message: string
  /** Empty where nothing is to be cured. */
  readonly cure: string
}

type Values = Readonly<Record<string, string | number>>

/** One line for each check. The first finding of a check stays. */
export class Report {
  readonly #lines: Line[] = []

  /** The values are cut and never hold a token: the caller must not pass one. */
  found(finding: FindingId, values: Values = {}): void {
    const row: { check: CheckId; status: Status; message: string; cure?: string } = FINDINGS[finding]
    this.#add(row.check, row.status, fill(row.message, values), fill(row.cure ?? '', values))
  }

  skip(checks: readonly CheckId[], why: keyof typeof SKIPPED, values: Values = {}): void {
    for (const check of checks) this.#add(check, 'skip', fill(SKIPPED[why], values), '')
  }

  /** All checks in the order of the table. What has no line yet is skipped for the sake of the first that failed. */
  lines(): readonly Line[] {
    const ids = Object.keys(CHECKS) as CheckId[]
    const failed = ids.find((id) => this.#line(id)?.status === 'fail')
    const why = failed === undefined ? SKIPPED.none : fill(SKIPPED.before, { check: failed })
    return ids.map((id) => this.#line(id) ?? { id, status: 'skip', message: why, cure: '' })
  }

  #line(id: CheckId): Line | undefined {
    return this.#lines.find((line) => line.id === id)
  }

  #add(id: CheckId, status: Status, message: string, cure: string): void {
    if (this.#line(id) === undefined) this.#lines.push({ id, status, message: message.trim(), cure })
  }
}
