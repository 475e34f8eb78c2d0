// A part of the table of the doctor: the way to the endpoint, and the token.

import type { CheckId, Finding } from './checks.ts'
import { PROXY } from './findings-proxy.ts'

/** First come those of the four usual causes of a failed login. */
export const ACCESS = {
  'token-dropped': {
    check: 'token-forwarded',
    status: 'fail',
    message:
      'The mirror drops Authorization: {endpoint} answers a request with a token as it answers one without.',
    cure: 'Let the mirror, or the proxy before it, pass the Authorization header on. In nginx remove proxy_set_header Authorization "". A public mirror that drops it on purpose opens no private or gated repo: use one that forwards it.',
    symptom:
      '`hf auth whoami` says `Invalid user token`, and `hf download` says `RepositoryNotFoundError: 401 Client Error` or `GatedRepoError`, although the same token works at huggingface.co.',
    command: 'hubmirror doctor --endpoint http://mirror:8080 --repo org/private-model',
  },
  'endpoint-prefix': {
    check: 'endpoint',
    status: 'fail',
    message: 'There is no Hub at {endpoint}: it answers {status}. {other}',
    cure: 'Correct HF_ENDPOINT: scheme, host, port and path prefix, letter by letter. If the mirror is mounted below a path, the path belongs to HF_ENDPOINT, and HUBMIRROR_BASE_PATH of the mirror names the same path.',
    symptom:
      '`LocalEntryNotFoundError: An error happened while trying to locate the file on the Hub`, `404 Client Error`, or `RepositoryNotFoundError` for a repo that exists.',
    command: 'curl -i "$HF_ENDPOINT/api/whoami-v2"   # a Hub answers 401 with JSON',
  },
  'token-wrong': {
    check: 'token-valid',
    status: 'fail',
    message: 'The token is wrong: {endpoint} passes it on, and it is not accepted. It comes from {source}.',
    cure: 'Make a new token (https://huggingface.co/settings/tokens, or hubmirror token on the mirror), then run hf auth login or set HF_TOKEN. A wrong token breaks public repos as well: unset HF_TOKEN to go on without one.',
    symptom:
      '`HfHubHTTPError: 401 Client Error`, `Invalid credentials in Authorization header`, `Invalid user token`.',
    command: 'hf auth whoami',
  },
  'token-needed': {
    check: 'token-present',
    status: 'fail',
    message: 'There is no token on this machine, and {repo} cannot be read without one (or does not exist).',
    cure: 'Run hf auth login, or set HF_TOKEN where the client runs: in the pod, in the worker, in the notebook, before the first import. Under sudo or as another user, the login of your own account is not seen.',
    symptom:
      '`RepositoryNotFoundError: 401 Client Error`, `GatedRepoError: 401 … You must be authenticated`.',
    command: 'hf auth whoami',
  },
  'tls-unknown-ca': {
    check: 'tls',
    status: 'fail',
    message:
      'The certificate of {host} is issued by "{issuer}", an authority that this client does not trust.',
    cure: 'Get the certificate of that authority as a PEM file from your operators, and name it. Python: SSL_CERT_FILE=/path/ca.pem, and REQUESTS_CA_BUNDLE for huggingface_hub before 1.0. Node: NODE_EXTRA_CA_CERTS. Rust and Go: SSL_CERT_FILE, or the store of the system. curl: CURL_CA_BUNDLE. For all of Debian: put it into /usr/local/share/ca-certificates and run update-ca-certificates. If the authority is a public one, the server lacks an intermediate certificate: send the whole chain there.',
    symptom:
      '`[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: unable to get local issuer certificate`, or `self-signed certificate in certificate chain`.',
    command: 'openssl s_client -connect mirror:443 -servername mirror -showcerts </dev/null',
  },
  ...PROXY,
  'dns-ok': { check: 'dns', status: 'ok', message: '{host} is found at {addresses}.' },
  'dns-proxy': {
    check: 'dns',
    status: 'warn',
    message: '{host} is not found from here; requests go through the proxy of {variable}.',
  },
  'dns-failed': {
    check: 'dns',
    status: 'fail',
    message: 'The name {host} is not found ({error}).',
    cure: 'Check the spelling of HF_ENDPOINT. In a container or a pod, use a name that is known there: localhost is the container itself.',
    symptom:
      '`ConnectError: [Errno -2] Name or service not known`, `Temporary failure in name resolution`, `getaddrinfo ENOTFOUND`.',
    command: 'getent hosts mirror',
  },
  'tcp-ok': { check: 'tcp', status: 'ok', message: '{host}:{port} takes connections ({ms} ms).' },
  'tcp-proxy': {
    check: 'tcp',
    status: 'warn',
    message: '{host}:{port} takes no connection from here; requests go through the proxy of {variable}.',
  },
  'tcp-refused': {
    check: 'tcp',
    status: 'fail',
    message: 'Nothing listens at {host}:{port} ({error}).',
    cure: 'Start the mirror, or correct the port of HF_ENDPOINT. A mirror on another machine must listen on more than 127.0.0.1: HUBMIRROR_HOST=0.0.0.0.',
    symptom:
      '`ConnectError: [Errno 111] Connection refused`, `LocalEntryNotFoundError … Please check your connection`.',
    command: 'curl -i http://mirror:8080/healthz',
  },
  'tcp-timeout': {
    check: 'tcp',
    status: 'fail',
    message: '{host}:{port} does not answer ({error}).',
    cure: 'A firewall or a network policy stops the way from here to the mirror. Let this client connect to this port: a rule for the internet does not open the way to the mirror.',
    symptom: '`ConnectTimeout: timed out`, `No route to host`; a download that hangs at the start.',
    command: 'curl -i --max-time 10 http://mirror:8080/healthz',
  },
  'tls-none': {
    check: 'tls',
    status: 'ok',
    message: 'The endpoint is plain HTTP: no certificate is needed.',
  },
  'tls-ok': { check: 'tls', status: 'ok', message: 'The certificate of {host} is trusted.' },
  'tls-expired': {
    check: 'tls',
    status: 'fail',
    message: 'The certificate of {host} is not valid now ({error}). This machine has the time {now}.',
    cure: 'Renew the certificate at the mirror, or at the proxy before it; hubmirror reads the new files by itself. If the certificate is good, correct the clock of this machine.',
    symptom: '`certificate verify failed: certificate has expired`, `certificate is not yet valid`.',
    command: 'openssl s_client -connect mirror:443 </dev/null | openssl x509 -noout -dates',
  },
  'tls-name': {
    check: 'tls',
    status: 'fail',
    message: 'The certificate of {host} is for another name ({error}).',
    cure: 'Use in HF_ENDPOINT the name that the certificate has, or issue a certificate with this name.',
    symptom:
      "`certificate verify failed: Hostname mismatch`, `Hostname/IP does not match certificate's altnames`.",
  },
  'tls-plain': {
    check: 'tls',
    status: 'fail',
    message: '{host}:{port} does not speak TLS ({error}).',
    cure: 'Write http:// in HF_ENDPOINT, or give the mirror a certificate: HUBMIRROR_TLS_CERT and HUBMIRROR_TLS_KEY.',
    symptom: '`SSL: WRONG_VERSION_NUMBER`, `EPROTO … wrong version number`, `record layer failure`.',
  },
  'endpoint-ok': { check: 'endpoint', status: 'ok', message: 'There is a Hub at {endpoint}{server}.' },
  'endpoint-hub-away': {
    check: 'endpoint',
    status: 'warn',
    message: 'A mirror answers at {endpoint}, but says {status}: {said}. Tokens cannot be checked now.',
    cure: 'An offline mirror says this on purpose. Otherwise run hubmirror doctor --server on the machine of the mirror.',
  },
  'endpoint-page': {
    check: 'endpoint',
    status: 'fail',
    message:
      '{endpoint} answers with a page ({type}, status {status}) and not with JSON: this is no Hub. {other}',
    cure: 'Open the address in a browser. If it is the login page of a network (hotel, guest Wi-Fi, company portal), log in there first. If it is another site, correct host, port and path prefix of HF_ENDPOINT.',
    symptom:
      '`JSONDecodeError: Expecting value: line 1 column 1 (char 0)`, `Distant resource does not seem to be on huggingface.co`, or a model file that begins with `<html`.',
    command: 'curl -i "$HF_ENDPOINT/api/whoami-v2"',
  },
  'endpoint-elsewhere': {
    check: 'endpoint',
    status: 'fail',
    message: '{endpoint} sends API requests elsewhere: {status} to {target}.',
    cure: 'If the target is the login page of a network, log in there first. If it is huggingface.co, the server redirects and mirrors nothing: clients then send no token, or need the internet. If it is the same host with https or another path, write that address into HF_ENDPOINT.',
    symptom:
      '`Distant resource does not seem to be on huggingface.co`, or connections to huggingface.co although HF_ENDPOINT is set.',
    command: 'curl -sI "$HF_ENDPOINT/api/whoami-v2"',
  },
  'endpoint-gateway': {
    check: 'endpoint',
    status: 'fail',
    message: 'A proxy before the mirror answers {status}: it does not reach the mirror behind it.',
    cure: 'Start the mirror, and check address and port in the configuration of the proxy.',
    symptom: '`HfHubHTTPError: 502 Server Error: Bad Gateway`, `503 Service Unavailable`.',
  },
  'endpoint-login': {
    check: 'endpoint',
    status: 'fail',
    message: 'A proxy before the mirror wants a login of its own ({status}, {challenge}).',
    cure: 'Clients of the Hub send one Authorization header, and it is for the Hub. Let the proxy pass requests for the mirror without its own login, and restrict them by network or by mirror tokens (docs/tokens.md).',
    symptom: '`401 Client Error` with `WWW-Authenticate: Basic`, with every token and for public repos too.',
  },
  'endpoint-failed': {
    check: 'endpoint',
    status: 'fail',
    message: '{endpoint} breaks off a plain request ({error}).',
    cure: 'Look at the log of the server at this address: something there closes connections, or is no HTTP server.',
    symptom: '`RemoteProtocolError: Server disconnected without sending a response`, `ECONNRESET`.',
  },
  'connection-ok': { check: 'connection', status: 'ok', message: 'Each request got a whole answer.' },
  'connection-breaks': {
    check: 'connection',
    status: 'fail',
    message: '{endpoint} answered at first, and did not answer a later request as a whole ({error}).',
    cure: 'Look at the log of the mirror for this moment: it may have been stopped or started again. If that log shows whole answers, a proxy, load balancer or firewall on the way cuts connections: raise its limits on time, size and number of requests for the mirror (proxy_read_timeout in nginx). Then run the doctor again.',
    symptom:
      '`RemoteProtocolError: peer closed connection without sending complete message body`, `IncompleteRead`, `ReadTimeout`, `ECONNRESET`, on some requests and not on others.',
    command:
      'curl -sS -o /dev/null -w "%{http_code} %{size_download}\\n" "$HF_ENDPOINT/org/model/resolve/main/config.json"',
  },
  'token-here': { check: 'token-present', status: 'ok', message: 'There is a token, from {source}.' },
  'token-none': {
    check: 'token-present',
    status: 'warn',
    message: 'There is no token on this machine: only public repos can be read.',
    cure: 'For private and gated repos run hf auth login, or set HF_TOKEN.',
  },
  'token-shape-ok': { check: 'token-form', status: 'ok', message: 'The token is well formed.' },
  'token-shape-odd': {
    check: 'token-form',
    status: 'warn',
    message:
      'The token from {source} does not look like hf_ and letters and digits. Some clients refuse such a token.',
    cure: 'Compare it with the page of your tokens. @huggingface/hub and llama.cpp want hf_.',
  },
  'token-shape-wrong': {
    check: 'token-form',
    status: 'fail',
    message: 'What stands in {source} is no token: {problem}.',
    cure: 'Write only the token there: hf_ and letters and digits, without Bearer, quotes or line breaks within.',
    symptom:
      '`Illegal header value`, `Invalid header value`, or `401 Client Error` with a token that was just made.',
  },
  'token-forwarded-ok': {
    check: 'token-forwarded',
    status: 'ok',
    message: 'The mirror passes Authorization on.',
  },
  'token-shared': {
    check: 'token-forwarded',
    status: 'fail',
    message:
      'The mirror answers a caller with a wrong token, or with none, as if it were another caller: it mixes up the answers of callers.',
    cure: 'Its cache key must contain Authorization, or answers to requests with Authorization must not be cached. Until then private content leaks to every caller of this mirror. hubmirror asks the Hub for the right of each caller.',
    symptom: '`hf auth whoami` names another user; private files are served without a token.',
  },
  'token-quota': {
    check: 'token-valid',
    status: 'warn',
    message: 'The Hub does not check tokens now: {status} {said}.',
    cure: 'Wait for some minutes, and run the doctor again.',
  },
  'token-ok': { check: 'token-valid', status: 'ok', message: 'The token is accepted: {kind} of {name}.' },
} as const satisfies Record<string, Finding & { readonly check: CheckId }>
