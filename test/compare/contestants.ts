// Who is compared: three configurations of nginx and the mirror as it is after installation, each a process of its own
// in front of a simulator of its own.

import { startMirrorProcess } from '../clients/support/mirror-process.ts'
import type { Hub } from '../hub-simulator/server.ts'
import { startNginx } from './nginx.ts'

export const CONTESTANTS = ['pass-through', 'naive-cache', 'careful', 'mirror'] as const
export type ContestantName = (typeof CONTESTANTS)[number]

/** A contestant that runs. The caller must stop it. */
export interface Contestant {
  readonly name: ContestantName
  /** What HF_ENDPOINT is set to. Says `localhost`, which clients in a closed network may reach. */
  readonly url: string
  /** The same where it is mounted below a path. */
  readonly urlBelowPath: string
  stop(): Promise<void>
}

const BASE_PATH = '/hugging-face'

/** Starts one, with an empty cache, in front of `hub`. */
export async function startContestant(name: ContestantName, hub: Hub): Promise<Contestant> {
  if (name !== 'mirror') {
    const nginx = await startNginx(name, hub)
    return { name, url: nginx.url, urlBelowPath: nginx.url + BASE_PATH, stop: () => nginx.stop() }
  }
  const env = { HUBMIRROR_ORIGIN: hub.url, HUBMIRROR_REDIRECT_HOSTS: new URL(hub.cdnUrl).hostname }
  const mirror = await startMirrorProcess(env)
  const below = await startMirrorProcess({ ...env, HUBMIRROR_BASE_PATH: BASE_PATH }).catch(
    async (error: unknown) => {
      await mirror.stop()
      throw error
    },
  )
  const stop = async () => {
    await mirror.stop()
    await below.stop()
  }
  return { name, url: mirror.url, urlBelowPath: below.url + BASE_PATH, stop }
}
