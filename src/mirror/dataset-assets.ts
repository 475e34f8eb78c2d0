// Images and sounds of the rows that the datasets-server shows. Their addresses are signed, and the signature is the right: they
// are requested without a credential. They pass through and are not stored, since the next answer with the same row names another
// address.

import { callerKey } from '../callers/caller-key.ts'
import { MirrorError } from '../errors.ts'
import type { Conditions } from '../http/select.ts'
import { passableHeaders } from '../hub/response-headers.ts'
import type { HubRoute } from '../hub/route.ts'
import type { OriginClient } from '../origin/client.ts'
import { foreignToStorage } from '../origin/failures/refused.ts'
import { discard } from '../origin/read-body.ts'
import type { Answer } from './answer.ts'
import { anonymousRequester, type Ctx } from './context.ts'
import { noDatasetsServer } from './documents/hub-documents.ts'

export interface DatasetAssetsOptions {
  /** Undefined when the mirror asks none. */
  readonly datasetsServer?: OriginClient | undefined
  readonly offline: boolean
}

/** In a browser, an asset must be no page that runs scripts in the name of the mirror. */
const SAFE_HEADERS = {
  'access-control-allow-origin': '*',
  'content-security-policy': "default-src 'none'; sandbox",
  'x-content-type-options': 'nosniff',
}

export class DatasetAssets {
  readonly #options: DatasetAssetsOptions

  constructor(options: DatasetAssetsOptions) {
    this.#options = options
  }

  /**
   * The asset, or what its host says instead. The caller must close the body. Throws MirrorError when the mirror asks no
   * datasets-server, or that cannot be reached or leads elsewhere, and the errors of `foreignToStorage`.
   */
  async get(
    ctx: Ctx,
    { target }: Extract<HubRoute, { kind: 'other' }>,
    { method, ...conditions }: Conditions & { readonly method: 'GET' | 'HEAD' },
  ): Promise<Answer> {
    const { datasetsServer: client, offline } = this.#options
    if (client === undefined) throw noDatasetsServer()
    if (offline) throw new MirrorError('offline_and_absent')
    await ctx.countAgainstLimit?.()
    const answer = await client.send({
      kind: 'cdn',
      method,
      url: client.url(target),
      requester: anonymousRequester(ctx),
      headers: fieldsOf(conditions),
      signal: ctx.signal,
    })
    const { status, body } = answer
    const { host } = client.policy.base
    if (status >= 300 && status < 400 && status !== 304) {
      discard(answer)
      throw new MirrorError('redirect_refused', { detail: { host } })
    }
    const foreign = await foreignToStorage(answer, host)
    if (foreign !== undefined) {
      discard(answer)
      throw foreign
    }
    const passed = Object.entries(passableHeaders(answer.headers, ['cache-control']))
    const headers: Record<string, string> = {}
    for (const [name, value] of passed) if (typeof value === 'string') headers[name] = value
    const outcome = status >= 400 ? 'refused' : 'bypass'
    const head = { status, headers: { ...headers, ...SAFE_HEADERS }, outcome } as const
    if (method === 'HEAD' || status === 304) {
      await body.dump()
      return { ...head, body: { kind: 'none' } }
    }
    const length = headers['content-length']
    return {
      ...head,
      body: {
        kind: 'stream',
        stream: body as AsyncIterable<Buffer>,
        lengthBytes: length === undefined ? undefined : Number(length),
        isWanted: () => client.isWanted(callerKey(ctx.caller)),
      },
    }
  }
}

function fieldsOf({ range, ifRange, ifNoneMatch }: Conditions): Record<string, string> {
  return {
    ...(range === undefined ? {} : { range }),
    ...(ifRange === undefined ? {} : { 'if-range': ifRange }),
    ...(ifNoneMatch === undefined ? {} : { 'if-none-match': ifNoneMatch }),
  }
}
