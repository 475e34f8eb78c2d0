// What the files of a bare repository are: its branches and tags, the tree of a commit, and blobs. Knows neither repos of the Hub
// nor who may read them.

import { GitFailed, type GitRun, runGit, streamGit } from './program.ts'

/** Far more than it takes to list the files of any repo. */
const READ_MS = 2 * 60_000
/** More than a hundred thousand branches and tags, or files with paths of usual length. */
const MAX_LIST_BYTES = 16 * 1024 * 1024

/** A branch or a tag, and the commit to which it points. */
export interface GitRef {
  /** In full, such as `refs/heads/main`. */
  readonly ref: string
  readonly commit: string
}

/** A file or a directory of a commit. */
export interface GitEntry {
  readonly type: 'blob' | 'tree'
  readonly id: string
  /** Of a blob; 0 of a directory. */
  readonly sizeBytes: number
  readonly path: string
}

/** A commit of a history. */
export interface GitCommit {
  readonly id: string
  /** The name of the author, as the commit has it. */
  readonly author: string
  /** ISO 8601. */
  readonly date: string
  /** The first paragraph on one line, and what follows it. */
  readonly title: string
  readonly message: string
}

/** Each method rejects with GitFailed when the repository is damaged or the output is too long, or with the reason of `signal`. */
export interface GitFiles {
  /** The branches and tags that point to commits. */
  refs(directory: string, signal: AbortSignal): Promise<readonly GitRef[]>
  /** Whether the repository has this commit. */
  hasCommit(directory: string, commit: string, signal: AbortSignal): Promise<boolean>
  /** All files and directories of a commit, which the repository must have. */
  tree(directory: string, commit: string, signal: AbortSignal): Promise<readonly GitEntry[]>
  /**
   * Commits from this one back, newest first: `count` of them after the first `skip`, and how many there are in all. The repository
   * must have the commit.
   */
  log(
    directory: string,
    commit: string,
    page: { readonly skip: number; readonly count: number },
    signal: AbortSignal,
  ): Promise<{ readonly commits: readonly GitCommit[]; readonly total: number }>
  /** The bytes of these blobs, which must be there, in the same order. `maxBytes` bounds them together. */
  blobs(
    directory: string,
    ids: readonly string[],
    maxBytes: number,
    signal: AbortSignal,
  ): Promise<readonly Buffer[]>
  /** The bytes of one blob, as they come. Git ends with the iteration. */
  blob(directory: string, id: string, signal: AbortSignal): AsyncGenerator<Buffer, void, undefined>
}

/** Git as it is installed on this machine. */
export function createGitFiles(): GitFiles {
  return {
    async refs(directory, signal) {
      const format = '--format=%(refname) %(objecttype) %(objectname) %(*objecttype) %(*objectname)'
      const text = await read({
        directory,
        signal,
        args: ['for-each-ref', format, 'refs/heads', 'refs/tags'],
      })
      return text.split('\n').flatMap((line) => {
        const [ref = '', type, id = '', peeledType, peeled = ''] = line.split(' ')
        if (type === 'commit') return [{ ref, commit: id }]
        return peeledType === 'commit' ? [{ ref, commit: peeled }] : []
      })
    },

    async hasCommit(directory, commit, signal) {
      const args = ['cat-file', '--batch-check=%(objecttype)']
      return (await read({ directory, signal, args, input: Buffer.from(`${commit}\n`) })) === 'commit\n'
    },

    async tree(directory, commit, signal) {
      const args = ['ls-tree', '-r', '-t', '-l', '-z', '--full-tree', commit]
      return (await read({ directory, signal, args })).split('\0').flatMap(entryOf)
    },

    async log(directory, commit, { skip, count }, signal) {
      const total = await read({ directory, signal, args: ['rev-list', '--count', commit] })
      const format = '--format=%H%x01%an%x01%aI%x01%s%x01%b'
      const args = ['log', '-z', `--skip=${skip}`, `--max-count=${count}`, format, commit]
      const text = await read({ directory, signal, args })
      const commits = text.split('\0').flatMap((entry) => {
        const [id = '', author = '', date = '', title = '', ...body] = entry.split('\x01')
        return id === '' ? [] : [{ id, author, date, title, message: body.join('\x01').trim() }]
      })
      return { commits, total: Number(total) }
    },

    async blobs(directory, ids, maxBytes, signal) {
      if (ids.length === 0) return []
      const args = ['cat-file', '--batch']
      const input = Buffer.from(ids.map((id) => `${id}\n`).join(''))
      const limited = limitedBy(signal)
      // Before each blob stands a line with its id, its type and its size.
      const output = await runGit({ args, directory, input, signal: limited }, maxBytes + ids.length * 80)
      const found: Buffer[] = []
      let position = 0
      for (const id of ids) {
        const end = output.indexOf('\n', position)
        const [, size] = /^[0-9a-f]+ blob (\d+)$/.exec(output.toString('latin1', position, end)) ?? []
        if (size === undefined) throw new GitFailed('cat-file', `${id} is no blob`)
        found.push(output.subarray(end + 1, end + 1 + Number(size)))
        position = end + Number(size) + 2
      }
      return found
    },

    blob(directory, id, signal) {
      return streamGit({ directory, args: ['cat-file', 'blob', id], signal: limitedBy(signal) })
    },
  }
}

async function read(run: GitRun): Promise<string> {
  return (await runGit({ ...run, signal: limitedBy(run.signal) }, MAX_LIST_BYTES)).toString()
}

function limitedBy(signal: AbortSignal): AbortSignal {
  return AbortSignal.any([signal, AbortSignal.timeout(READ_MS)])
}

/** A line of `ls-tree -l`: mode, type, id and size, then a tab and the path. Submodules are left out. */
function entryOf(line: string): readonly GitEntry[] {
  const [, type, id = '', size, path = ''] =
    /^\d{6} (blob|tree) ([0-9a-f]{40}) +(\d+|-)\t(.+)$/s.exec(line) ?? []
  if (type !== 'blob' && type !== 'tree') return []
  return [{ type, id, sizeBytes: size === '-' ? 0 : Number(size), path }]
}
