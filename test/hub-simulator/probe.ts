// One raw request, without redirects, decoding or pooling, and what came back, even when it broke off.
// Knows nothing of the Hub.

import { type Agent, request as httpRequest, type IncomingHttpHeaders } from 'node:http'

/** What came back. */
export interface Got {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: Buffer
  /** The answer reached its end as its framing announced. */
  readonly isComplete: boolean
}

/** What to send besides the URL; `token` becomes a Bearer header. */
export interface Asked {
  readonly method?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly token?: string
  readonly body?: string
  /** Connections to use again; without one, each request has its own. */
  readonly agent?: Agent
}

/** Sends one request. Rejects only when no status line came back. */
export function probe(url: string, asked: Asked = {}): Promise<Got> {
  const credential = asked.token === undefined ? {} : { authorization: `Bearer ${asked.token}` }
  return new Promise((resolve, reject) => {
    // Bytes beyond the announced end are an error of the request, after an answer that was whole.
    let settle: (() => void) | undefined
    const request = httpRequest(
      url,
      {
        method: asked.method ?? 'GET',
        agent: asked.agent ?? false,
        headers: { ...credential, ...asked.headers },
      },
      (response) => {
        const chunks: Buffer[] = []
        settle = () =>
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers,
            body: Buffer.concat(chunks),
            isComplete: response.complete,
          })
        response.on('data', (chunk: Buffer) => chunks.push(chunk))
        response.on('error', settle)
        response.on('end', settle)
      },
    )
    request.on('error', (error) => (settle === undefined ? reject(error) : settle()))
    request.end(asked.body)
  })
}
