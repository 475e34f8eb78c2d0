// The work of `hubmirror prefetch` in this process, over the control socket of a mirror. The mirror must have opened it.

import { expect, onTestFinished } from 'vitest'
import { ControlClient } from '../../src/commands/prefetch/control-client.ts'
import { type JobObserver, type RepoResult, runJob } from '../../src/commands/prefetch/job.ts'
import { parseRepo } from '../../src/commands/repo-argument.ts'
import { pathFilter } from '../../src/hub/file-patterns.ts'
import { openScene, type Scene, type SceneOptions } from './scene.ts'

interface Job {
  readonly token?: string
  readonly include?: readonly string[]
  readonly exclude?: readonly string[]
  readonly dryRun?: boolean
  readonly signal?: AbortSignal
  readonly observer?: Partial<JobObserver>
}

const SILENT: JobObserver = { say() {}, begin() {}, file: () => ({ at() {}, done() {} }) }

/** Runs the job for repos as they are written on the command line. */
export async function prefetchBy(
  socketPath: string,
  repos: readonly string[],
  job: Job = {},
): Promise<readonly RepoResult[]> {
  const client = new ControlClient(socketPath, { token: job.token, version: '0.0.0-test' })
  onTestFinished(() => client.close())
  return runJob({
    client,
    wanted: repos.map((text) => {
      const [repo = '', revision = 'main'] = text.split('@')
      return { repo: parseRepo(repo), revision }
    }),
    isMeant: pathFilter(job.include ?? [], job.exclude ?? []),
    dryRun: job.dryRun ?? false,
    signal: job.signal ?? new AbortController().signal,
    observer: { ...SILENT, ...job.observer },
  })
}

/** The state of each file, by its path. */
export function statesOf({ files }: Pick<RepoResult, 'files'>): Record<string, string> {
  return Object.fromEntries(files.map(({ path, state }) => [path, state]))
}

/** Opens a scene whose mirror has a control socket. */
export async function openBeside(options?: SceneOptions): Promise<Scene & { readonly socket: string }> {
  const scene = await openScene(options)
  const socket = await scene.mirror.app.openControl()
  return Object.assign(scene, { socket })
}

/** The result of a job for one repo. */
export function only(results: readonly RepoResult[]): RepoResult {
  expect(results.length).toBe(1)
  return results[0]!
}
