// Which client reads, while the mirror is offline, what another one has downloaded: each downloader fills a store of its
// own, and then each reader reads the same repo from it, without a request to the Hub.

import type { Client } from './client.ts'
import { CLIENTS } from './clients.ts'
import { expectDownload, expectRead } from './columns.ts'
import type { Network } from './network.ts'
import { absentOf, canReach } from './play.ts'
import type { Pairs } from './results.ts'
import { openStage } from './stage.ts'
import { REPOS } from './world.ts'

/** Of each family those that differ in what they ask for. */
const NAMES = [
  'huggingface_hub 0.36',
  'huggingface_hub 2',
  '@huggingface/hub',
  'hf-hub 0.5',
  'TEI',
  'llama.cpp',
  'git-lfs',
]

/** The clients of the pairs, by name. */
export function pairNames(): readonly string[] {
  return NAMES
}

/** Those of them that are installed, and can reach the mirrors of this run. */
export function pairClients(): readonly Client[] {
  return CLIENTS.filter(
    (client) => NAMES.includes(client.name) && absentOf(client).length === 0 && canReach(client),
  )
}

/** What each installed reader made of what `downloader` had downloaded, and in what words it failed. */
export async function playPairs(
  downloader: Client,
  network: Network,
): Promise<{ readonly found: Pairs[string]; readonly failures: Readonly<Record<string, string>> }> {
  const stage = await openStage(downloader, network, { HUBMIRROR_GIT_CLONES: 'all' })
  const found: Record<string, boolean> = {}
  const failures: Record<string, string> = {}
  try {
    await expectDownload(downloader, stage, REPOS.open, true)
    await stage.restart({ HUBMIRROR_OFFLINE: 'on' })
    stage.hub.ledger.clear()
    for (const reader of pairClients()) {
      try {
        await expectRead(reader, stage, { repo: REPOS.open })
        found[reader.name] = true
      } catch (error) {
        found[reader.name] = false
        failures[reader.name] = error instanceof Error ? error.message : String(error)
      }
    }
    const asked = stage.hub.ledger.requests()
    if (asked.length > 0) throw new Error(`the Hub was asked for ${asked[0]?.url}`)
  } finally {
    await stage.close()
  }
  return { found, failures }
}
