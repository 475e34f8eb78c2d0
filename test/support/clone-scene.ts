// A scene for clones through a mirror, and what tests of them do first.

import { type GitClient, whenStored } from './git-client.ts'
import { openScene, type Scene } from './scene.ts'

/** A scene in which a fetch of the mirror follows each clone at once. */
export const openGitScene = (options: Parameters<typeof openScene>[0] = {}): Promise<Scene> =>
  openScene({ ...options, config: { refTtlMs: 0, ...options.config } })

/** The URL of a repo at the mirror. `user` is what stands before the host. */
export const urlOf = (scene: Scene, id = 'acme/open', user = ''): string =>
  `${scene.mirror.url.replace('//', `//${user}`)}/${id}`

/** Clones, and returns the commit that it has. */
export async function clone(
  client: GitClient,
  url: string,
  folder: string,
  ...options: string[]
): Promise<string> {
  await client.ok(['clone', '--quiet', ...options, url, folder])
  return client.ok(['rev-parse', 'HEAD'], folder)
}

/** Clones, waits until the repo is stored, and takes the Hub away. Returns the folder of the repository. */
export async function cloneAndLeave(scene: Scene, client: GitClient): Promise<string> {
  await clone(client, urlOf(scene), 'first')
  const [folder = ''] = await whenStored(scene.mirror.cacheDir)
  await scene.hub.stop()
  return folder
}
