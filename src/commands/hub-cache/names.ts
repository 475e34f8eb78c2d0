// How huggingface_hub names the folders of its cache: `models--org--name` and so on. It does not read the disk.

import { apiSegment, parseRepoId, type Repo, typeOfApiSegment } from '../../hub/names.ts'

/** The folder of a repo in a cache directory. */
export function folderOf({ type, id }: Repo): string {
  return `${apiSegment(type)}--${id.replace('/', '--')}`
}

/** The repo of a folder; undefined if the name is none that the client makes. No id has two hyphens in a row. */
export function repoOfFolder(name: string): Repo | undefined {
  const [segment = '', ...parts] = name.split('--')
  const type = typeOfApiSegment(segment)
  const id = parseRepoId(parts.join('/'))
  return type === undefined || id === undefined ? undefined : { type, id }
}
