// What must be changed in each document: found once for as long as its bytes are in memory, and in small steps. A document
// of 20 MB takes a tenth of a second, during which no other request could run.

import { createHash } from 'node:crypto'
import { DATASETS_SERVER_URL } from '../../hub/datasets-server.ts'
import { BASE, type DocumentPlan, type DocumentScan } from '../../hub/document-scan.ts'
import { HUB_URLS } from '../../hub/names.ts'
import { scanDocument } from '../../hub/rewrite.ts'
import type { HubDocument } from '../../hub/route.ts'
import type { OriginClient } from '../../origin/client.ts'
import { yieldToEventLoop } from '../turns.ts'

/** Bytes to read before looking at the time. */
const STEP_BYTES = 8 * 1024
/** Bytes to hash before other requests have their turn. */
const HASH_STEP_BYTES = 256 * 1024
/** Duration of a step that delays no request noticeably. A step may take as long again while the code is cold. */
const SLICE_MS = 1

/** The members of a repo's info that the mirror reads. */
const LEARNT = ['id', 'sha', 'private', 'gated', 'disabled', 'tags', 'cardData'] as const
/** The list of files, which is read item by item. */
const SIBLINGS = 'siblings'
/** Parsed in one step. No hand-written card is larger than this. */
const MAX_MEMBER_BYTES = 1024 * 1024

interface DocumentPlansOptions {
  readonly client: Pick<OriginClient, 'policy'>
  /** Undefined when the mirror asks none. */
  readonly datasetsServer?: Pick<OriginClient, 'policy'> | undefined
}

/** A plan, and what it makes of which bytes. */
export interface DigestedPlan extends DocumentPlan {
  /** Of the bytes and their changes together. It is another one when the document that clients are sent is, for any base URL. */
  readonly digest: string
  /** Whether the base URL of the mirror becomes part of it. */
  readonly hasBase: boolean
}

export class DocumentPlans {
  readonly #originBase: string
  readonly #datasetsServer: string
  readonly #plans = new WeakMap<Buffer, Promise<DigestedPlan>>()

  constructor({ client, datasetsServer }: DocumentPlansOptions) {
    this.#originBase = client.policy.base.href
    this.#datasetsServer = datasetsServer?.policy.base.href ?? DATASETS_SERVER_URL
  }

  /** The plan for `body`, which must never change. Rejects with MirrorError when it is no such document. */
  of(body: Buffer, document: HubDocument): Promise<DigestedPlan> {
    const known = this.#plans.get(body)
    if (known !== undefined) return known
    const plan = this.#make(body, document)
    this.#plans.set(body, plan)
    return plan
  }

  async #make(body: Buffer, document: HubDocument): Promise<DigestedPlan> {
    const bases =
      document === 'dataset-rows'
        ? { originBase: this.#datasetsServer, aliases: [DATASETS_SERVER_URL] }
        : { originBase: this.#originBase, aliases: HUB_URLS }
    const scan = scanDocument(body, {
      ...bases,
      document,
      stripXet: true,
      members: [...LEARNT, SIBLINGS],
    })
    while (!slice(scan)) await yieldToEventLoop()
    const { plan } = scan
    return { ...plan, digest: await digestOf(body, plan), hasBase: plan.edits.some(isBase) }
  }
}

/** Whether the number at this place is the kind of a change that puts a base URL in. */
function isBase(kind: number, index: number): boolean {
  return index % 3 === 2 && kind === BASE
}

async function digestOf(body: Buffer, { edits }: DocumentPlan): Promise<string> {
  const hash = createHash('sha256').update(`${body.length} `)
  for (const bytes of [body, Buffer.from(edits.buffer, edits.byteOffset, edits.byteLength)]) {
    for (let start = 0; start < bytes.length; start += HASH_STEP_BYTES) {
      if (start > 0) await yieldToEventLoop()
      hash.update(bytes.subarray(start, start + HASH_STEP_BYTES))
    }
  }
  return hash.digest('base64url')
}

/** Whether the end has been reached. */
function slice(scan: DocumentScan): boolean {
  const startedAt = performance.now()
  do {
    if (scan.run(STEP_BYTES)) return true
  } while (performance.now() - startedAt < SLICE_MS)
  return false
}

/** The members of a repo's info that matter here, parsed, where they are present. */
export function infoOf(body: Buffer, plan: DocumentPlan): Readonly<Record<string, unknown>> {
  const info: Record<string, unknown> = {}
  for (const [name, [start, end]] of plan.members) {
    if (name !== SIBLINGS && end - start <= MAX_MEMBER_BYTES)
      info[name] = JSON.parse(body.toString('utf8', start, end))
  }
  return info
}

/** The items of a document that describe files: all of a listing, the siblings of an info. Undefined when it has none. */
export function itemsOf(
  body: Buffer,
  document: HubDocument,
  plan: DocumentPlan,
): readonly [start: number, end: number] | undefined {
  if (document === 'tree' || document === 'paths-info') return [0, body.length]
  return document === 'repo' || document === 'revision' ? plan.members.get(SIBLINGS) : undefined
}
