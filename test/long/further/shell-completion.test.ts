import { describeCompletion } from '../../support/shell-completion.ts'

// test/integration/shell-completion.test.ts has one of each kind.
await describeCompletion([
  ['hubmirror to', ['token']],
  ['hubmirror ls --s', ['--sort']],
  ['hubmirror ls --cache', ['--cache-dir']],
  ['hubmirror ls --sort ', ['name', 'size', 'used']],
  ['hubmirror ls --files token --sort ', ['name', 'size', 'used']],
  ['hubmirror serve --admin-token-f', ['--admin-token-file']],
  ['hubmirror completion ', ['bash', 'fish', 'zsh']],
])
