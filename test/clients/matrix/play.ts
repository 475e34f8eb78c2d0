// Plays one row of the table: all columns of one client, each with what it cost the Hub. A column that fails is named, and
// the others go on.

import { needsTrust, PLACE } from '../support/place.ts'
import { isThere } from '../support/tools.ts'
import { type Client, COLUMNS, type Column } from './client.ts'
import { playOf } from './columns.ts'
import type { Network } from './network.ts'
import type { Cell, Row } from './results.ts'
import { openStage, type Stage } from './stage.ts'

/** A row, and what went wrong in it, one text for each column. */
export interface Played {
  readonly row: Row
  readonly failures: readonly string[]
}

/** Whether the client can reach the mirrors of this run (support/place.ts). */
export function canReach(client: Client): boolean {
  return !needsTrust || client.hasOwnAuthorities !== true
}

/** Whether the client is installed, and can read from the mirrors of this run. */
export function canRead(client: Client): boolean {
  const hasPlace = PLACE.path === '' || client.cannot?.prefix === undefined
  return absentOf(client).length === 0 && canReach(client) && hasPlace
}

/** What of a client is not there: paths, or commands. */
export function absentOf(client: Client): readonly string[] {
  return client.needs.filter((need) => !isThere(need))
}

/** Plays columns of a client that is installed. A column that fails is a cell that has not passed. */
export async function play(
  client: Client,
  network: Network,
  only: readonly Column[] = COLUMNS,
): Promise<Played> {
  const stage = await openStage(client, network)
  const cells: Partial<Record<Column, Cell>> = {}
  const failures: string[] = []
  let version = ''
  try {
    version = await versionOf(client, stage)
    for (const column of only) {
      const cell = await playColumn(client, stage, column).catch((error: unknown) => {
        failures.push(`${client.name}, ${column}: ${error instanceof Error ? error.message : String(error)}`)
        return { ...costOf(stage), passed: false }
      })
      if (cell !== undefined) cells[column] = cell
    }
  } finally {
    await stage.close()
  }
  return { row: { version, cells }, failures }
}

async function playColumn(client: Client, stage: Stage, column: Column): Promise<Cell | undefined> {
  const act = playOf(client, column)
  if (act === undefined) return undefined
  stage.hub.ledger.clear()
  const word = await act(client, stage)
  return { passed: true, ...(word === undefined ? {} : { word }), ...costOf(stage) }
}

function costOf({ hub }: Stage): Pick<Cell, 'requests' | 'bytes'> {
  return { requests: hub.ledger.requests().length, bytes: hub.ledger.bytes() }
}

async function versionOf({ name, version }: Client, stage: Stage): Promise<string> {
  const { status, stdout, stderr } = await stage.start(version, await stage.newHome()).finished
  const last = stdout.trimEnd().split('\n').at(-1) ?? ''
  const found = /\d+\.[\w.+-]*/.exec(last)?.[0]
  if (status !== 0 || found === undefined) throw new Error(`${name} names no version:\n${stdout}${stderr}`)
  return found
}
