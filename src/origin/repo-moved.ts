// Thrown where a redirect of the Hub leads to a repo that nobody has been asked about: the request begins anew.

export class RepoMoved extends Error {
  constructor() {
    super('the repo has another name')
    this.name = 'RepoMoved'
  }
}

export function isRepoMoved(error: unknown): boolean {
  return error instanceof RepoMoved
}
