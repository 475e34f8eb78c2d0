// Thrown where a redirect of the Hub leads to another name of the repo, on which no rule has decided yet. The request then
// starts again under that name.

export class RepoMoved extends Error {
  constructor() {
    super('the repo has another name')
    this.name = 'RepoMoved'
  }
}

export function isRepoMoved(error: unknown): boolean {
  return error instanceof RepoMoved
}
