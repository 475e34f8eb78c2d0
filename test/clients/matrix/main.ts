// Plays the table of clients and prints what it found. usage: main.ts [--write] [--rows | --pairs] [NAME...]
// NAME is a part of the name of a client, or of a downloader. With --write each row goes to docs/clients.json as soon as it
// is known; `npm run docs:write` prints that file to the page.

import type { Client } from './client.ts'
import { CLIENTS } from './clients.ts'
import { type Network, openNetwork } from './network.ts'
import { pairClients, pairNames, playPairs } from './pairs.ts'
import { absentOf, play } from './play.ts'
import { inTurn } from './pool.ts'
import { type Pairs, type Results, readResults, writeResults } from './results.ts'

/** Puts a row, or what was read of one download, into the file. The rows stand in the order of the clients. */
function put(found: { readonly rows?: Results['rows']; readonly pairs?: Pairs }): void {
  const before = readResults()
  const inOrder = <T>(names: readonly string[], values: Readonly<Record<string, T>>) =>
    Object.fromEntries(names.flatMap((name) => (values[name] === undefined ? [] : [[name, values[name]]])))
  const names = CLIENTS.map(({ name }) => name)
  writeResults({
    rows: inOrder(names, { ...before.rows, ...found.rows }),
    pairs: inOrder(pairNames(), { ...before.pairs, ...found.pairs }),
  })
}

/** Returns how many columns failed. */
async function playRow(client: Client, network: Network, writes: boolean): Promise<number> {
  if (absentOf(client).length > 0) {
    // What was played where it is installed stays on the page.
    console.log(`${client.name}: not installed`)
    return 0
  }
  const { row, failures } = await inTurn(() => play(client, network))
  console.log(`${client.name} ${row.version}: ${JSON.stringify(row.cells)}`)
  for (const failure of failures) console.log(failure)
  if (writes) put({ rows: { [client.name]: row } })
  return failures.length
}

async function playDownloader(downloader: Client, network: Network, writes: boolean): Promise<number> {
  const { found, failures } = await inTurn(() => playPairs(downloader, network))
  console.log(`downloaded by ${downloader.name}: ${JSON.stringify(found)}`)
  for (const [reader, failure] of Object.entries(failures)) console.log(`${reader}: ${failure}`)
  if (writes) put({ pairs: { [downloader.name]: { ...readResults().pairs[downloader.name], ...found } } })
  return 0
}

async function main(args: readonly string[]): Promise<number> {
  const names = args.filter((argument) => !argument.startsWith('--'))
  const writes = args.includes('--write')
  const isChosen = ({ name }: Client) => names.length === 0 || names.some((part) => name.includes(part))
  const rows = args.includes('--pairs') ? [] : CLIENTS.filter(isChosen)
  const downloaders = args.includes('--rows') ? [] : pairClients().filter(isChosen)
  const network = await openNetwork()
  try {
    const runs = [
      ...rows.map((client) => playRow(client, network, writes)),
      ...downloaders.map((downloader) => playDownloader(downloader, network, writes)),
    ]
    let failed = 0
    for (const run of await Promise.allSettled(runs)) {
      if (run.status === 'rejected') console.log(run.reason)
      failed += run.status === 'rejected' ? 1 : run.value
    }
    return failed === 0 ? 0 : 1
  } finally {
    await network.close()
  }
}

process.exitCode = await main(process.argv.slice(2))
