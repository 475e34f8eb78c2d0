// Commands that read a bundle whose medium gives no more bytes: the first Ctrl-C ends them.

import { execFileSync } from 'node:child_process'
import { open } from 'node:fs/promises'
import { describe, expect, it, onTestFinished } from 'vitest'
import { openSides } from '../support/bundles.ts'
import { brought, bundleOf } from '../support/made-bundles.ts'
import { start } from '../support/run-cli.ts'

type Command = ReturnType<typeof start>

const BYTES = Buffer.alloc(2_000_000, 'stalled')

function half(): Buffer {
  const { rows, members } = brought(BYTES)
  const bundle = bundleOf(rows, members)
  return bundle.subarray(0, bundle.indexOf(BYTES) + BYTES.length / 2)
}

/**
 * Starts `bundle` with a FIFO in the place of FILE, or as its stdin, and writes half of a bundle. The command has read most of that then,
 * since a FIFO holds 64 KiB.
 */
async function stalled(
  medium: 'a FIFO' | 'stdin',
  begin: (file: string) => Command,
  fifo: string,
): Promise<Command> {
  if (medium === 'a FIFO') {
    execFileSync('mkfifo', [fifo])
    // For both directions, so that the FIFO has a writer for as long as the test lasts.
    const writer = await open(fifo, 'r+')
    onTestFinished(() => writer.close())
    const command = begin(fifo)
    await writer.writeFile(half())
    return command
  }
  const command = begin('-')
  onTestFinished(() => void command.child.stdin?.destroy())
  await new Promise((resolve) => command.child.stdin?.write(half(), resolve))
  return command
}

describe.each(['a FIFO', 'stdin'] as const)('a bundle that stalls in %s', (medium) => {
  it.each(['load', 'verify'])('does not keep `bundle %s` from ending at the first Ctrl-C', async (action) => {
    const { scene, at } = await openSides([])
    const env = { HUBMIRROR_CACHE_DIR: scene.mirror.cacheDir, HUBMIRROR_ORIGIN: scene.hub.url }
    const begin = (file: string) => start(['bundle', action, file], env, [], { hasStdin: medium === 'stdin' })
    const { child, done } = await stalled(medium, begin, at('fifo'))
    child.kill('SIGINT')
    const { status, stdout, stderr } = await done
    // As a shell reports it. A thread that waits for a FIFO can be ended by a signal only.
    expect(child.signalCode === 'SIGINT' ? 130 : status).toBe(130)
    expect([stdout, stderr]).toEqual(['', 'interrupted; run the command again to go on\n'])
  })
})
