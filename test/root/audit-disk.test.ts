// An audit log on a disk that is full: no client waits, every line comes when there is room again, and the
// process ends though its lines never could be written.

import { mkdtemp, open, readFile, rm, truncate } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { probe } from '../hub-simulator/probe.ts'
import { World } from '../hub-simulator/repos.ts'
import { type Hub, startHub } from '../hub-simulator/server.ts'
import { eventually } from '../support/eventually.ts'
import { type Child, startChild } from '../support/process.ts'
import { metricValue } from '../support/start-mirror.ts'
import { mountDisk, type SmallDisk, whyNoDisk } from '../support/tmpfs.ts'

const noDisk = await whyNoDisk()

let hub: Hub
let disk: SmallDisk
let cacheDir: string
let child: Child

beforeEach(async () => {
  const world = new World()
  world.model('acme/open').commit({ 'small.json': '{"small":true}' })
  hub = await startHub({ world })
  cacheDir = await mkdtemp(join(tmpdir(), 'hubmirror-audit-disk-'))
})

afterEach(async () => {
  await child.stop()
  await hub.close()
  await disk.unmount()
  await rm(cacheDir, { recursive: true, force: true })
})

const auditFile = () => join(disk.directory, 'audit.log')
const ballast = () => join(disk.directory, 'ballast')

async function startOnSmallDisk(): Promise<void> {
  disk = await mountDisk(1)
  child = await startChild({ hub, cacheDir, env: { HUBMIRROR_AUDIT_LOG: auditFile() } })
}

/** Takes all the room there is; what is left of the log's own last page stays. */
async function fill(): Promise<void> {
  const file = await open(ballast(), 'w')
  try {
    for (;;) await file.write(Buffer.alloc(4096))
  } catch (error) {
    expect(error).toMatchObject({ code: 'ENOSPC' })
  } finally {
    await file.close()
  }
}

async function degraded(): Promise<number | undefined> {
  const metrics = await (await fetch(`${child.url}/metrics`)).text()
  return metricValue(metrics, 'hubmirror_audit_degraded')
}

/** Asks until the log has no room left for its line; how many requests that took. */
async function askUntilFull(): Promise<number> {
  let asked = 0
  await eventually(
    async () => {
      const got = await probe(`${child.url}/acme/open/resolve/main/small.json`)
      expect(got.status).toBe(200)
      asked += 1
      return degraded()
    },
    (value) => value === 1,
  )
  return asked
}

const told = (word: string) => child.entries().filter(({ msg }) => String(msg).includes(word)).length

describe.skipIf(noDisk !== undefined)('an audit log on a full disk', () => {
  it('does not keep the process from ending with 0, though its lines cannot be written', async () => {
    await startOnSmallDisk()
    await fill()
    await askUntilFull()
    child.kill('SIGTERM')
    expect(await child.ended).toBe(0)
    expect([told('the audit log cannot be written'), told('closed')]).toEqual([1, 1])
    const text = await readFile(auditFile(), 'utf8')
    // What did not fit may have been cut; nothing stands behind it.
    const whole = text.split('\n').slice(0, -1)
    for (const line of whole) expect(JSON.parse(line)).toMatchObject({ audit: 'access' })
  })

  it('gets every line when there is space again, each of them whole and in order', async () => {
    await startOnSmallDisk()
    await fill()
    let asked = await askUntilFull()
    const more = 5
    for (let n = 0; n < more; n += 1)
      expect((await probe(`${child.url}/acme/open/resolve/main/small.json`)).status).toBe(200)
    asked += more
    await truncate(ballast(), 0)
    await eventually(
      async () => {
        await probe(`${child.url}/acme/open/resolve/main/small.json`)
        asked += 1
        return degraded()
      },
      (value) => value === 0,
    )
    child.kill('SIGTERM')
    expect(await child.ended).toBe(0)
    const lines = (await readFile(auditFile(), 'utf8')).trimEnd().split('\n')
    expect(lines.map((line) => (JSON.parse(line) as { status: number }).status)).toEqual(
      Array.from({ length: asked }, () => 200),
    )
    expect(told('the audit log can be written again')).toBe(1)
  })
})
