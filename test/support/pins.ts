// A mirror with a file of pins, and the code that fetches what they want. Nothing is fetched until a test starts it.

import { rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { startReconciler } from '../../src/commands/pins/reconciler.ts'
import type { PaceClock } from '../../src/commands/prefetch/pace.ts'
import type { Config } from '../../src/config/keys.ts'
import type { PinReport, PinsReport } from '../../src/pins/report.ts'
import { createLogger } from '../../src/telemetry/log.ts'
import { eventually } from './eventually.ts'
import { openScene, type Scene, type SceneOptions } from './scene.ts'

export interface PinsScene extends Scene {
  readonly file: string
  /** Replaces the file of pins. The mirror learns of it by itself, or by `reread`. */
  pin(text: string): Promise<void>
  /** Looks at the file now. Twice, because a fault is reported when it stays. */
  reread(): void
  /** Starts to fetch. Resolves with the path of the control socket. */
  begin(clock?: PaceClock): Promise<string>
  stop(): Promise<void>
  report(): PinsReport
  /** Resolves with the report of the first pin when it is due and no run for it is under way. */
  ended(isDue: (pin: PinReport) => boolean): Promise<PinReport>
}

let files = 0

/** Opens the scene of the running test. `text` is the file of pins. */
export async function openPinned(text: string, options: SceneOptions = {}): Promise<PinsScene> {
  files += 1
  const file = join(tmpdir(), `hubmirror-pins-${process.pid}-${files}.yaml`)
  const pin = async (next: string): Promise<void> => {
    await writeFile(`${file}.new`, next)
    await rename(`${file}.new`, file)
  }
  await pin(text)
  onTestFinished(() => rm(file, { force: true }))
  const scene = await openScene({ ...options, config: { ...options.config, pins: file } })
  let stopping: (() => Promise<void>) | undefined
  const pins = () => {
    const { pins } = scene.mirror.app
    if (pins === undefined) throw new Error('the mirror has no pins')
    return pins
  }
  const stop = async (): Promise<void> => {
    await stopping?.()
    stopping = undefined
  }
  const restart = scene.restart.bind(scene)
  onTestFinished(stop)
  return Object.assign(scene, {
    file,
    pin,
    reread() {
      pins().check()
      pins().check()
    },
    async begin(clock?: PaceClock) {
      const socketPath = await scene.mirror.app.openControl()
      const { offline } = scene.mirror.config
      const logger = createLogger({ level: 'silent', destination: { write() {} } })
      stopping = startReconciler({
        pins: pins(),
        socketPath,
        version: '0.0.0-test',
        offline,
        logger,
        ...(clock === undefined ? {} : { clock }),
      })
      return socketPath
    },
    stop,
    restart: async (config: Partial<Config> = {}) => {
      await stop()
      await restart({ pins: file, ...config })
    },
    report: () => pins().report(),
    async ended(isDue: (pin: PinReport) => boolean) {
      const [only] = await eventually(
        () => pins().report().pins,
        ([pin]) => pin !== undefined && isDue(pin) && isPaused(pin),
        20_000,
      )
      if (only === undefined) throw new Error('there is no pin')
      return only
    },
  })
}

/** A clock on which every wait is over at once. */
export function withoutWaits(): PaceClock {
  let now = 0
  return { now: () => now, wait: (ms) => Promise.resolve(void (now += ms)) }
}

/** Whether no run for the pin is under way or due. */
function isPaused({ nextRunAt }: PinReport): boolean {
  return nextRunAt !== null && Date.parse(nextRunAt) > Date.now() + 1000
}
