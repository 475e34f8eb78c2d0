// What the mirror says of the volume of its store. The kernel of the test mounts no network volume, so statfs answers as it
// would on one.

import { expect, it, onTestFinished, vi } from 'vitest'
import { World } from '../hub-simulator/repos.ts'
import { startHub } from '../hub-simulator/server.ts'
import { startMirror } from '../support/start-mirror.ts'
import { open, scratchDirectory } from '../unit/store/scratch.ts'

const volume = vi.hoisted(() => ({ type: undefined as number | undefined }))

vi.mock('node:fs/promises', async (original) => {
  const real = await original<typeof import('node:fs/promises')>()
  const statfs = async (path: string) => {
    const answer = await real.statfs(path)
    return volume.type === undefined ? answer : Object.assign(answer, { type: volume.type })
  }
  return { ...real, statfs, default: { ...real, statfs } }
})

/** What a store on a volume of this type lacks, as it is said when the store opens. */
async function limitsOn(type: number | undefined): Promise<readonly string[]> {
  volume.type = type
  const limits: string[] = []
  const store = await open(await scratchDirectory(), { onLimit: (limit) => void limits.push(limit) })
  await store.close()
  return limits
}

// The numbers are those of linux/magic.h and statfs(2).
it.each([
  ['NFS', 0x6969],
  ['SMB 1', 0x517b],
  ['SMB 2', 0xfe534d42],
  ['CIFS', 0xff534d42],
  ['AFS', 0x5346414f],
  ['Ceph', 0x00c36400],
  ['9P', 0x01021997],
  ['Lustre', 0x0bd00bd0],
  ['GPFS', 0x47504653],
  ['BeeGFS', 0x19830326],
  ['GFS2', 0x01161970],
  ['OCFS2', 0x7461636f],
  ['FUSE, as GlusterFS, JuiceFS, SSHFS and virtiofs are', 0x65735546],
])('a store on %s is one on a network volume', async (_, type) => {
  expect(await limitsOn(type)).toEqual(['network-volume'])
})

it.each([
  ['ext4', 0xef53],
  ['XFS', 0x58465342],
  ['Btrfs', 0x9123683e],
  ['ZFS', 0x2fc12fc1],
  ['tmpfs', 0x01021994],
  ['overlayfs', 0x794c7630],
  ['the volume of this test', undefined],
])('a store on %s lacks nothing', async (_, type) => {
  expect(await limitsOn(type)).toEqual([])
})

it('the log names the limit once at start, and says which processes may use the database', async () => {
  volume.type = 0x6969
  const hub = await startHub({ world: new World() })
  onTestFinished(() => hub.close())
  const mirror = await startMirror({ hub })
  onTestFinished(() => mirror.close())
  expect((await fetch(`${mirror.url}/readyz`)).status).toBe(200)
  const lines = mirror.logLines('"limit":')
  expect(lines).toHaveLength(1)
  const { limit, msg } = JSON.parse(lines[0] ?? '') as Record<string, unknown>
  expect(limit).toBe('network-volume')
  expect(msg).toMatch(/memory-mapped database, which only processes of this machine may use/)
})
