// What is to be changed in each document, found once for as long as its bytes are in memory, and a little at a time:
// a document of 20 MB takes a tenth of a second, in which nobody else may wait.

import type { DocumentPlan, DocumentScan } from '../../hub/document-scan.ts'
import { type RewriteBases, scanDocument } from '../../hub/rewrite.ts'
import type { HubDocument } from '../../hub/route.ts'
import { yieldToEventLoop } from '../turns.ts'

/** Read before the time is looked at. */
const STEP_BYTES = 8 * 1024
/** Work that nobody notices; a step may take as long while the code is cold. */
const SLICE_MS = 1

/** The members of a repo's info from which something is learnt. */
const LEARNT = ['id', 'sha', 'private', 'gated', 'disabled', 'tags', 'cardData'] as const
/** Parsed at once; a card of more megabytes is none of a person's making. */
const MAX_MEMBER_BYTES = 1024 * 1024

export class DocumentPlans {
  readonly #bases: Pick<RewriteBases, 'originBase' | 'aliases'>
  readonly #plans = new WeakMap<Buffer, Promise<DocumentPlan>>()

  constructor(bases: Pick<RewriteBases, 'originBase' | 'aliases'>) {
    this.#bases = bases
  }

  /** The plan for `body`, which must never change. Rejects with MirrorError for what is no such document. */
  of(body: Buffer, document: HubDocument): Promise<DocumentPlan> {
    const known = this.#plans.get(body)
    if (known !== undefined) return known
    const plan = this.#make(body, document)
    this.#plans.set(body, plan)
    return plan
  }

  async #make(body: Buffer, document: HubDocument): Promise<DocumentPlan> {
    const scan = scanDocument(body, { ...this.#bases, document, stripXet: true, members: LEARNT })
    while (!slice(scan)) await yieldToEventLoop()
    return scan.plan
  }
}

/** Whether the end has been reached. */
function slice(scan: DocumentScan): boolean {
  const startedAt = performance.now()
  do {
    if (scan.run(STEP_BYTES)) return true
  } while (performance.now() - startedAt < SLICE_MS)
  return false
}

/** What of a repo's info matters: the members that are there, parsed. */
export function infoOf(body: Buffer, plan: DocumentPlan): Readonly<Record<string, unknown>> {
  const info: Record<string, unknown> = {}
  for (const [name, [start, end]] of plan.members) {
    if (end - start <= MAX_MEMBER_BYTES) info[name] = JSON.parse(body.toString('utf8', start, end))
  }
  return info
}
