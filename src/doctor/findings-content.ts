// A part of the table of the doctor: repos, files, and what lies on the machine of the client.

import type { CheckId, Finding } from './checks.ts'

/** What the checks of repo-access and those behind it can find. */
export const CONTENT = {
  'repo-ok': { check: 'repo-access', status: 'ok', message: '{repo} can be read.' },
  'repo-none': {
    check: 'repo-access',
    status: 'skip',
    message: 'No repo was named, and {repo} cannot be read here. Give one with --repo.',
  },
  'repo-denied': {
    check: 'repo-access',
    status: 'fail',
    message: 'The token may not read this: {repo} does not exist, or the token of {name} has no right to it.',
    cure: 'Check the spelling of the repo and its kind (datasets/org/name). Use a token of a member of the organization. A fine-grained token must name this repo or its organization under its permissions.',
    symptom:
      '`RepositoryNotFoundError: 404 Client Error. Repository Not Found` with a token that works elsewhere.',
    command: 'hubmirror doctor --endpoint http://mirror:8080 --repo org/private-model',
  },
  'repo-refused': {
    check: 'repo-access',
    status: 'fail',
    message: 'The mirror itself refuses {repo}: {said}.',
    cure: 'A policy of this mirror says so. Ask its operators; they can run hubmirror config explain.',
    symptom: '`GatedRepoError` or `HfHubHTTPError: 403`, with a message that names this mirror.',
  },
  'repo-absent': {
    check: 'repo-access',
    status: 'fail',
    message: 'The mirror is offline, and cannot give {repo}: {said}.',
    cure: 'Ask its operators to bring the repo, by hubmirror prefetch where the Hub can be reached, or by a bundle (docs/air-gap.md). A private or gated repo also needs a serve-stored rule that names its readers, and a token of one of them.',
    symptom:
      '`RepositoryNotFoundError: 404 Client Error` or `LocalEntryNotFoundError`, with `This mirror is offline by configuration`.',
  },
  'repo-error': {
    check: 'repo-access',
    status: 'warn',
    message: 'Whether {repo} can be read is not known: {status} {said}.',
  },
  'gate-none': {
    check: 'gate',
    status: 'ok',
    message: '{repo} has no gate, or its gate is open for this caller.',
  },
  'gate-closed': {
    check: 'gate',
    status: 'fail',
    message: '{repo} is gated, and the account of this token ({name}) has no access yet.',
    cure: 'Accept the terms in a browser, with the account of this token, at {page}. Some gates are opened by their authors by hand. A fine-grained token also needs the permission to read gated repos.',
    symptom:
      '`GatedRepoError: 403 Client Error. Access to model … is restricted and you are not in the authorized list`.',
  },
  'headers-ok': { check: 'headers', status: 'ok', message: 'HEAD of {file} names commit, ETag and length.' },
  'headers-commit': {
    check: 'headers',
    status: 'fail',
    message: 'HEAD of {file} lacks X-Repo-Commit.',
    cure: 'The mirror follows the redirect of the Hub by itself, or its cache loses headers. It must take X-Repo-Commit from the first answer, and store it with the file.',
    symptom:
      '`FileMetadataError: Distant resource does not seem to be on huggingface.co. It is possible that a configuration issue prevents you from downloading resources`.',
    command: 'curl -sI "$HF_ENDPOINT/org/model/resolve/main/config.json"',
  },
  'headers-etag': {
    check: 'headers',
    status: 'fail',
    message: 'HEAD of {file} has neither ETag nor X-Linked-ETag.',
    cure: 'Let the mirror, and each proxy before it, pass ETag and X-Linked-ETag on. A proxy that compresses removes it.',
    symptom:
      '`FileMetadataError: Distant resource does not have an ETag, we will not be able to reliably ensure reproducibility`.',
  },
  'headers-length': {
    check: 'headers',
    status: 'fail',
    message: 'HEAD of {file} names the length {length}, and the file has {size} bytes.',
    cure: 'The length is that of a redirect text or of a compressed file, or it is missing. Switch compression off before the mirror, and pass Content-Length and X-Linked-Size on.',
    symptom:
      '`Consistency check failed: file should be of size …`, `Distant resource does not have a Content-Length`.',
  },
  'headers-failed': {
    check: 'headers',
    status: 'fail',
    message: 'HEAD of {file} is answered with {status}.',
    cure: 'Look at the log of the mirror, and at X-Error-Message of the answer: {said}.',
    symptom:
      '`LocalEntryNotFoundError … Please check your connection and try again` for a repo that can be listed.',
  },
  'encoding-ok': { check: 'encoding', status: 'ok', message: 'Files come without Content-Encoding.' },
  'encoding-compressed': {
    check: 'encoding',
    status: 'warn',
    message: 'The server compresses {file} ({encoding}): lengths and ranges then do not match.',
    cure: 'Switch compression off for the mirror (gzip off in nginx).',
    symptom: '`Consistency check failed`, or a progress bar without a total.',
  },
  'range-ok': {
    check: 'range',
    status: 'ok',
    message: 'Range: bytes=0-0 is answered with one byte and Content-Range.',
  },
  'range-ignored': {
    check: 'range',
    status: 'fail',
    message: 'Range: bytes=0-0 of {file} is answered with {status}, Content-Range {range}.',
    cure: 'The mirror or a proxy before it must answer ranges with 206 and Content-Range. An interrupted download cannot resume otherwise.',
    symptom:
      'Rust clients: `missing Content-Range`. JavaScript: `Expected size information`. Resumed files are corrupt.',
    command:
      'curl -sLD- -o /dev/null -H "Range: bytes=0-0" "$HF_ENDPOINT/org/model/resolve/main/config.json"',
  },
  'range-unreachable': {
    check: 'range',
    status: 'fail',
    message: 'The bytes of {file} come from {target}, and that is not reachable from here ({error}).',
    cure: 'This mirror sends clients elsewhere for the bytes. Open the way to that host, or use a mirror that serves the bytes itself.',
    symptom: '`ConnectError` or `ConnectTimeout` that names a CDN host, after the listing has worked.',
  },
  'conditional-ok': { check: 'conditional', status: 'ok', message: 'If-None-Match is answered with 304.' },
  'conditional-ignored': {
    check: 'conditional',
    status: 'warn',
    message: 'If-None-Match is answered with {status}: clients fetch unchanged files again.',
    cure: 'Let the mirror and the proxies before it pass ETag and If-None-Match on unchanged.',
  },
  'links-ok': { check: 'links', status: 'ok', message: 'Links to further pages lead to the endpoint.' },
  'links-away': {
    check: 'links',
    status: 'fail',
    message: 'The link to the next page leads to {target}, and not to the endpoint.',
    cure: 'The mirror must rewrite the Link header. hubmirror does; behind a proxy with another name or path, set HUBMIRROR_PUBLIC_URL.',
    symptom: 'A listing stops or times out after 1000 files; tokens are sent to huggingface.co.',
    command: 'curl -sI "$HF_ENDPOINT/api/models?limit=1" | grep -i ^link',
  },
  'xet-none': { check: 'xet', status: 'ok', message: 'The endpoint offers no Xet: clients use plain HTTP.' },
  'xet-here': { check: 'xet', status: 'ok', message: 'Xet goes through the endpoint.' },
  'xet-away': {
    check: 'xet',
    status: 'warn',
    message: 'The endpoint offers Xet, and its bytes come from {target}, past the mirror.',
    cure: 'Nothing is cached then. Set HF_HUB_DISABLE_XET=1 at the clients, or use a mirror that strips or proxies Xet.',
  },
  'xet-broken': {
    check: 'xet',
    status: 'fail',
    message: 'The endpoint offers Xet, and Xet does not work here: {problem}.',
    cure: 'Set HF_HUB_DISABLE_XET=1 at the clients: once a client has chosen Xet, it does not fall back to HTTP. At the mirror: strip the Xet headers and xetHash, or proxy all of Xet.',
    symptom:
      '`RuntimeError: Data processing error: CAS service error`, `Xet headers have not been correctly set by the server`.',
    command: 'HF_HUB_DISABLE_XET=1 hf download org/model',
  },
  'cors-ok': { check: 'cors', status: 'ok', message: 'Pages of other sites may read files.' },
  'cors-missing': {
    check: 'cors',
    status: 'warn',
    message:
      'There is no Access-Control-Allow-Origin: transformers.js in a browser cannot use this endpoint.',
    cure: 'Let the mirror or the proxy before it send Access-Control-Allow-Origin.',
  },
  'clock-ok': {
    check: 'clock',
    status: 'ok',
    message: 'The clock differs from that of the server by {seconds} s.',
  },
  'clock-off': {
    check: 'clock',
    status: 'warn',
    message: 'The clock differs from that of the server by {seconds} s.',
    cure: 'Let NTP set the clocks of both machines. Signed addresses and Xet tokens end by the clock.',
    symptom: '`403 Forbidden: Request has expired` from a CDN, or `certificate is not yet valid`.',
    command: 'date -u; curl -sI "$HF_ENDPOINT/healthz" | grep -i ^date',
  },
  'environment-ok': { check: 'environment', status: 'ok', message: 'The variables agree with each other.' },
  'environment-offline': {
    check: 'environment',
    status: 'fail',
    message: '{variable} is set: clients on this machine ask no server at all.',
    cure: 'Unset it. It is for machines without any network; for a mirror that works offline set HUBMIRROR_OFFLINE at the mirror.',
    symptom: '`OfflineModeIsEnabled`, `LocalEntryNotFoundError … outgoing traffic has been disabled`.',
    command: 'env | grep -E "^(HF|TRANSFORMERS)_.*OFFLINE"',
  },
  'environment-file': {
    check: 'environment',
    status: 'fail',
    message: '{variable} names a file that cannot be read.',
    cure: 'Correct the path. It is the path within the container or pod in which the client runs.',
    symptom: '`FileNotFoundError`, `Could not find a suitable TLS CA certificate bundle, invalid path`.',
  },
  'environment-served': {
    check: 'environment',
    status: 'warn',
    message:
      'HF_ENDPOINT is {endpoint}, and this file came from {served}. Clients on this machine ask {endpoint}, and that is what was checked.',
    cure: 'If clients are to use {served}, set HF_ENDPOINT={served} before the first import of a client. To check it without a change, give --endpoint {served}.',
  },
  'environment-differs': {
    check: 'environment',
    status: 'warn',
    message: '{problem}.',
    cure: 'Keep one of them. Set it before the first import of a client: a variable that is set later changes nothing.',
    symptom:
      'The client asks huggingface.co, or uses another token, although a variable was set. It was set after the import, in another container, or a second variable wins.',
    command: 'env | grep -E "^(HF|HUGGING)_"',
  },
  'clients-found': { check: 'clients', status: 'ok', message: 'Installed: {versions}.' },
  'clients-none': { check: 'clients', status: 'ok', message: 'No Python client was found.' },
  'clients-old': {
    check: 'clients',
    status: 'warn',
    message:
      'huggingface_hub {version} asks huggingface.co for Xet tokens in place of the endpoint. Installed: {versions}.',
    cure: 'Update it (pip install -U huggingface_hub), or set HF_HUB_DISABLE_XET=1.',
  },
  'trees-ok': { check: 'trees', status: 'ok', message: 'No listing kept on this machine names Xet hashes.' },
  'trees-xet': {
    check: 'trees',
    status: 'warn',
    message:
      '{count} listings below {path} name Xet hashes: huggingface_hub 1.22 and newer goes to Xet for them without asking for the headers.',
    cure: 'Set HF_HUB_DISABLE_XET=1 if Xet does not work here, or remove these trees folders: clients make them again.',
    symptom:
      '`CAS service error` or `404` for `xet-read-token`, only on machines that have used huggingface.co before.',
  },
  'disk-ok': { check: 'disk', status: 'ok', message: '{free} GB are free at {path}.' },
  'disk-full': {
    check: 'disk',
    status: 'warn',
    message: 'Only {free} GB are free at {path}.',
    cure: 'Remove what is not used (hf cache prune), or set HF_HOME to a larger disk.',
    symptom: '`OSError: [Errno 28] No space left on device`.',
    command: 'df -h ~/.cache/huggingface',
  },
} as const satisfies Record<string, Finding & { readonly check: CheckId }>
