// Answers of the API as the Hub sent them, by name. The name says all that an answer depends on.

import { MemoryCache } from '../../memory.ts'
import { isRecord } from '../../records.ts'
import type { FactStore } from './fact-store.ts'

export interface DocumentFact {
  /** As the Hub sent it. The same object while it is in memory, so it must not be written to. */
  readonly body: Buffer
  readonly contentType: string
  readonly link: string | undefined
  readonly headers: Readonly<Record<string, string>>
  /** The Hub's validator of `body`, if it has sent one. Clients get another one: what they are sent differs from `body`. */
  readonly etag?: string | undefined
  /** Present when the Hub said that there is no such entry; `body` is how it said so. */
  readonly absent?: { readonly message: string }
}

export class DocumentMetadata {
  readonly #store: FactStore
  // When the request was sent whose answer a document last was.
  readonly #askedAt = new MemoryCache<number>({ maxBytes: 8 * 1024 * 1024 })

  constructor(store: FactStore) {
    this.#store = store
  }

  async get(name: string): Promise<DocumentFact | undefined> {
    return parseDocument(await this.#store.read('documents', this.#store.documentKey(name)))
  }

  /**
   * Written behind the response. `before` is what was stored under the name, when the caller has just read it: large documents
   * are not in memory.
   */
  set(name: string, fact: DocumentFact, askedAt: number, before?: DocumentFact): void {
    this.#askedAt.set(name, askedAt)
    const key = this.#store.documentKey(name)
    const stored = parseDocument(this.#store.peek('documents', key)) ?? before
    // With a new validator of the same bytes, the Hub can say again that they are unchanged.
    if (stored !== undefined && isSameDocument(stored, fact) && stored.etag === fact.etag) return
    void this.#store.write('documents', key, fact)
  }

  /** Nothing is stored under the name from now on. */
  remove(name: string): void {
    this.#askedAt.delete(name)
    void this.#store.remove('documents', this.#store.documentKey(name))
  }

  /** What was stored may be gone: what is stored from now on may be from elsewhere, such as a bundle. */
  forget(): void {
    this.#askedAt.clear()
  }

  /** When this process last asked the Hub for the document and received what is stored. */
  askedAt(name: string): number | undefined {
    return this.#askedAt.get(name)
  }
}

/** Whether the Hub sent the same. */
export function isSameDocument(one: DocumentFact, other: DocumentFact): boolean {
  return one.link === other.link && (one.body === other.body || one.body.equals(other.body))
}

function parseDocument(value: unknown): DocumentFact | undefined {
  if (!isRecord(value) || typeof value['contentType'] !== 'string') return undefined
  // Earlier versions stored the body as a string.
  const body = typeof value['body'] === 'string' ? Buffer.from(value['body']) : value['body']
  if (!Buffer.isBuffer(body)) return undefined
  const link = typeof value['link'] === 'string' ? value['link'] : undefined
  const headers: Record<string, string> = {}
  if (isRecord(value['headers'])) {
    for (const [name, text] of Object.entries(value['headers']))
      if (typeof text === 'string') headers[name] = text
  }
  const { absent, etag } = value
  const message = isRecord(absent) && typeof absent['message'] === 'string' ? absent['message'] : undefined
  return {
    body,
    contentType: value['contentType'],
    link,
    headers,
    ...(typeof etag === 'string' ? { etag } : {}),
    ...(message === undefined ? {} : { absent: { message } }),
  }
}
