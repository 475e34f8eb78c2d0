// A part of the table of the doctor: the forward proxy that the variables of this machine name.

import type { CheckId, Finding } from './checks.ts'

const DIRECT =
  'If the mirror can be reached without the proxy, put it in NO_PROXY and no_proxy: NO_PROXY={host}. Keep what is there already, separated by commas.'

/** What the check proxy can find. */
export const PROXY = {
  'proxy-none': { check: 'proxy', status: 'ok', message: 'No proxy variable applies to {host}.' },
  'proxy-used': {
    check: 'proxy',
    status: 'ok',
    message: 'Requests go through the proxy {proxy} of {variable}, and it passes them on.',
  },
  'proxy-down': {
    check: 'proxy',
    status: 'fail',
    message:
      '{variable} sends requests for {host} to the proxy {proxy}, and that takes no connection ({error}).',
    cure: `${DIRECT} Else correct the address of the proxy in {variable}.`,
    symptom:
      '`ProxyError: Cannot connect to proxy`, or `ConnectError: [Errno 111] Connection refused` although the mirror runs.',
    command: 'env | grep -i proxy',
  },
  'proxy-tls': {
    check: 'proxy',
    status: 'fail',
    message: '{variable} names the proxy {proxy} by https://, and TLS with the proxy itself fails ({error}).',
    cure: `${DIRECT} Else, if the proxy speaks plain HTTP as most do, write http://{proxy} in {variable}: clients reach servers by https through it all the same. If it speaks TLS, let clients trust the authority of its certificate, in SSL_CERT_FILE, REQUESTS_CA_BUNDLE and NODE_EXTRA_CA_CERTS (curl: --proxy-cacert).`,
    symptom:
      '`Your proxy appears to only use HTTP and not HTTPS`, or `ProxyError` with `[SSL: WRONG_VERSION_NUMBER]` or `CERTIFICATE_VERIFY_FAILED`.',
    command: 'env | grep -i proxy',
  },
  'proxy-unchecked': {
    check: 'proxy',
    status: 'warn',
    message:
      '{variable} applies to {host}, and it names no proxy by http:// or https://. Clients may use it, or fail with it; these checks go without it.',
    cure: `${DIRECT} Else look at what a client gets: curl -v "$HF_ENDPOINT/api/whoami-v2". Python needs PySocks (requests) or socksio (httpx) for a SOCKS proxy.`,
  },
  'proxy-login': {
    check: 'proxy',
    status: 'fail',
    message:
      '{variable} sends requests for {host} to the proxy {proxy}, and it answers 407: it wants a login ({schemes}), and {given}.',
    cure: `${DIRECT} Else write user and password into {variable}: http://user:password@{proxy}, with special characters percent-encoded (%40 for @). Clients send the password as Basic only: a proxy that wants NTLM or Negotiate and no Basic needs a relay on this machine, such as px or cntlm.`,
    symptom:
      '`ProxyError: 407 Proxy Authentication Required`, `Tunnel connection failed: 407`, `HfHubHTTPError: 407 Client Error`.',
    command: 'curl -sI "$HF_ENDPOINT/api/whoami-v2" | grep -i "^HTTP\\|^proxy-"',
  },
  'proxy-refuses': {
    check: 'proxy',
    status: 'fail',
    message:
      '{variable} sends requests for {host} to the proxy {proxy}, and it answers {status} in place of the mirror.',
    cure: `${DIRECT} Else ask the operators of the proxy to let this machine connect to {host}:{port} (403 is a rule of the proxy; with 502, 503 or 504 it does not reach the mirror, so check that the mirror runs).`,
    symptom:
      '`ProxyError: 403 Forbidden`, `Tunnel connection failed: 503 Service Unavailable`, or an HTML page in place of a file.',
    command: 'curl -sI --noproxy "*" "$HF_ENDPOINT/api/whoami-v2"   # the same without a proxy',
  },
  'proxy-ca': {
    check: 'proxy',
    status: 'fail',
    message:
      'Through the proxy {proxy} of {variable}, {host} has a certificate that is issued by "{issuer}", an authority that this client does not trust. {other}',
    cure: `${DIRECT} Else get the certificate of "{issuer}" as a PEM file from the operators of the proxy, and name it. Python: SSL_CERT_FILE=/path/ca.pem, and REQUESTS_CA_BUNDLE for huggingface_hub before 1.0. Node: NODE_EXTRA_CA_CERTS. Rust: SSL_CERT_FILE, or the store of the system. curl: CURL_CA_BUNDLE. SSL_CERT_FILE, REQUESTS_CA_BUNDLE and CURL_CA_BUNDLE replace the public authorities: name a file with both where clients also ask public servers.`,
    symptom:
      '`[SSL: CERTIFICATE_VERIFY_FAILED]` or `SELF_SIGNED_CERT_IN_CHAIN` only where `HTTPS_PROXY` is set.',
    command: 'curl -v "$HF_ENDPOINT/api/whoami-v2" 2>&1 | grep issuer',
  },
  'proxy-swallows': {
    check: 'proxy',
    status: 'fail',
    message: '{variable} sends requests for {host} to the proxy {proxy}, and it breaks them off ({error}).',
    cure: `${DIRECT} Else look at the log of the proxy.`,
    symptom:
      '`ProxyError`, `RemoteProtocolError: Server disconnected`, or `SSL: UNEXPECTED_EOF_WHILE_READING`, only where a proxy variable is set.',
    command: 'env | grep -i proxy',
  },
} as const satisfies Record<string, Finding & { readonly check: CheckId }>
