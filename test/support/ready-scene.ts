// A scene in which tests see whether the mirror decided about a request, or had its answer ready.

import { onTestFinished, vi } from 'vitest'
import type { Config } from '../../src/config/keys.ts'
import { FileMetadata } from '../../src/mirror/metadata/files.ts'
import type { Question, Reply } from './ask.ts'
import { eventually } from './eventually.ts'
import { openScene, type Scene } from './scene.ts'

export interface ReadyScene extends Scene {
  /** Asks, and says whether the mirror looked at what it knows of the file. */
  asks(target: string, question?: Question): Promise<ReadyReply>
  /** Asks until the answer is ready. */
  warm(target: string, question?: Question): Promise<ReadyReply>
}

export interface ReadyReply extends Reply {
  readonly ready: boolean
}

export async function readyScene(config: Partial<Config> = {}): Promise<ReadyScene> {
  const scene = await openScene({ config })
  const looked = vi.spyOn(FileMetadata.prototype, 'get')
  onTestFinished(() => looked.mockRestore())
  const asks: ReadyScene['asks'] = async (target, question) => {
    looked.mockClear()
    const reply = await scene.ask(target, question)
    return { ...reply, ready: looked.mock.calls.length === 0 }
  }
  const warm: ReadyScene['warm'] = async (target, question) => {
    await scene.ask(target, question)
    await scene.settled()
    return eventually(
      () => asks(target, question),
      ({ ready }) => ready,
    )
  }
  return { ...scene, asks, warm }
}

/** A condition that changes nothing sends a request along the full path. */
export const LONG_WAY = { 'if-none-match': '"other"' }

/** What may not differ between two answers to the same question. */
export function comparable({ status, headers, names, body }: Reply) {
  const { 'x-request-id': _id, date: _date, ...rest } = headers
  return { status, headers: rest, names: [...names].toSorted(), body: body.toString('latin1') }
}
