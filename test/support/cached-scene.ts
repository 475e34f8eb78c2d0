// A scene in which tests see whether the mirror decided about a request, or sent a cached response.

import { onTestFinished, vi } from 'vitest'
import type { Config } from '../../src/config/keys.ts'
import { FileMetadata } from '../../src/mirror/metadata/files.ts'
import type { Question, Reply } from './ask.ts'
import { eventually } from './eventually.ts'
import { openScene, type Scene } from './scene.ts'

export interface CachedScene extends Scene {
  /** Asks, and says whether the mirror read the metadata of the file. */
  asks(target: string, question?: Question): Promise<CachedReply>
  /** Asks until the response is cached. */
  warm(target: string, question?: Question): Promise<CachedReply>
}

export interface CachedReply extends Reply {
  readonly cached: boolean
}

export async function cachedScene(config: Partial<Config> = {}): Promise<CachedScene> {
  const scene = await openScene({ config })
  const looked = vi.spyOn(FileMetadata.prototype, 'get')
  onTestFinished(() => looked.mockRestore())
  const asks: CachedScene['asks'] = async (target, question) => {
    looked.mockClear()
    const reply = await scene.ask(target, question)
    return { ...reply, cached: looked.mock.calls.length === 0 }
  }
  const warm: CachedScene['warm'] = async (target, question) => {
    await scene.ask(target, question)
    await scene.settled()
    return eventually(
      () => asks(target, question),
      ({ cached }) => cached,
    )
  }
  return { ...scene, asks, warm }
}

/** A condition that changes nothing sends a request along the full path. */
export const FULL_PATH = { 'if-none-match': '"other"' }

/** What may not differ between two answers to the same question. */
export function comparable({ status, headers, names, body }: Reply) {
  const { 'x-request-id': _id, date: _date, ...rest } = headers
  return { status, headers: rest, names: [...names].toSorted(), body: body.toString('latin1') }
}
