// A part of the Python file that the mirror serves at /-/doctor.py: the head, one request, and the way to the endpoint. See python-source.ts.

/** Python 3.8 or newer, with only the standard library. */
export const NETWORK = String.raw`#!/usr/bin/env python3
"""Finds why a client on this machine gets nothing from a mirror of the Hugging Face Hub, and says the cure.

  curl -s http://mirror:8080/-/doctor.py | python3 - [--endpoint URL] [--token TOKEN | --token-file FILE]
                                                     [--repo REPO] [--file PATH] [--json]

Python 3.8 or newer, and nothing but its standard library. The same checks and words as hubmirror doctor.
"""
import argparse, base64, datetime, email.utils, http.client, json, os, re, secrets, shutil, socket, ssl, sys, tempfile
import time, urllib.parse, urllib.request

SERVED_FROM = "@ENDPOINT@"
TABLE = json.loads("@TABLE@")
USUAL_REPO = "@USUAL_REPO@"
TIMEOUT, MAX_BODY, CLOCK, DISK_LOW, MAX_TREES = 20, 4000000, 60, 2e9, 200
CA_VARIABLES = ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"]
LOGINS = ["Basic", "Digest", "NTLM", "Negotiate"]
NO_TLS = {"error": None, "certificate": None}
FILE_CHECKS = ["headers", "encoding", "range", "conditional", "xet", "cors"]
ENV = os.environ


def fill(text, values):
    def one(match):
        value = values.get(match.group(1))
        return match.group(0) if value is None else re.sub(r"[^\x20-\x7e]+", " ", str(value))[:300]

    return re.sub(r"\{(\w+)\}", one, text)


class Report:
    def __init__(self):
        self.lines = {}

    def found(self, finding, **values):
        row = TABLE["findings"][finding]
        self.add(row["check"], row["status"], fill(row["message"], values), fill(row.get("cure", ""), values))

    def skip(self, checks, why, **values):
        for check in checks:
            self.add(check, "skip", fill(TABLE["skipped"][why], values), "")

    def add(self, check, status, message, cure):
        self.lines.setdefault(check, {"id": check, "status": status, "message": message.strip(), "cure": cure})

    def failed(self, check):
        return self.lines.get(check, {}).get("status") == "fail"

    def all(self):
        failed = [check for check in TABLE["checks"] if self.failed(check)]
        why = fill(TABLE["skipped"]["before"], {"check": failed[0]}) if failed else TABLE["skipped"]["none"]
        none = lambda check: {"id": check, "status": "skip", "message": why, "cure": ""}
        return [self.lines.get(check) or none(check) for check in TABLE["checks"]]


def code_of(error):
    error = getattr(error, "reason", error) if isinstance(error, urllib.error.URLError) else error
    if isinstance(error, ConnectionRefusedError):
        return "ECONNREFUSED"
    if isinstance(error, ConnectionResetError):
        return "ECONNRESET"
    if isinstance(error, socket.timeout):
        return "ETIMEDOUT"
    return re.sub(r"\s*\(_ssl\.c:\d+\)", "", str(error)) or type(error).__name__


def set_value(*names):
    for name in names:
        if ENV.get(name, "").strip():
            return name
    return None


def proxy_of(url):
    variable = set_value(url.scheme + "_proxy", (url.scheme + "_proxy").upper(), "all_proxy", "ALL_PROXY")
    if variable is None or urllib.request.proxy_bypass_environment(url.netloc.rpartition("@")[2]):
        return None
    text = ENV[variable].strip()
    proxy = urllib.parse.urlsplit(text if "://" in text else "http://" + text)
    if proxy.scheme != "http" or not proxy.hostname:
        return None
    login = None
    if proxy.username is not None:
        pair = urllib.parse.unquote(proxy.username) + ":" + urllib.parse.unquote(proxy.password or "")
        login = "Basic " + base64.b64encode(pair.encode()).decode()
    return {"variable": variable, "host": proxy.hostname, "port": proxy.port or 80, "login": login}


def address_of(url):
    return url.hostname, url.port or (443 if url.scheme == "https" else 80)


def context():
    made = ssl.create_default_context()
    for name in CA_VARIABLES:
        try:
            if os.path.isfile(ENV.get(name, "")):
                made.load_verify_locations(ENV[name])
        except (OSError, ssl.SSLError):
            pass
    return made


class Seen:
    def __init__(self, url, status, headers, body):
        self.url, self.status, self.body = url, status, body
        self.headers = {}
        for name, value in headers:
            name = name.lower()
            self.headers[name] = self.headers[name] + ", " + value if name in self.headers else value
        self.text = body.decode("utf-8", "replace")

    def json(self):
        try:
            return json.loads(self.text)
        except ValueError:
            return None

    def field(self, name):
        value = self.json()
        return value.get(name) if isinstance(value, dict) else None

    def is_json(self):
        return "json" in self.headers.get("content-type", "").lower()

    def is_redirect(self):
        return self.status in (301, 302, 303, 307, 308) and "location" in self.headers

    def said(self):
        return self.headers.get("x-error-message") or self.text[:200]


class ProxyRefusal(OSError):
    def __init__(self, status, challenge):
        super().__init__("the proxy answers %d" % status)
        self.status, self.challenge = status, challenge


def tunnel(proxy, url):
    host, port = address_of(url)
    at = "%s:%d" % ("[%s]" % host if ":" in host else host, port)
    lines = ["CONNECT %s HTTP/1.1" % at, "Host: " + at]
    if proxy["login"]:
        lines.append("Proxy-Authorization: " + proxy["login"])
    plain = socket.create_connection((proxy["host"], proxy["port"]), timeout=TIMEOUT)
    try:
        plain.sendall("\r\n".join(lines + ["", ""]).encode("latin-1"))
        # One byte at a time: what comes after the head belongs to TLS.
        head, until = b"", time.time() + TIMEOUT
        while not head.endswith(b"\r\n\r\n"):
            part = plain.recv(1)
            if time.time() > until:
                raise socket.timeout("timed out")
            if not part or len(head) > 65536:
                raise ConnectionResetError("the proxy breaks off")
            head += part
        found = re.match(rb"HTTP/1\.\d (\d{3})", head)
        status = int(found.group(1)) if found else 0
        if not 200 <= status < 300:
            challenges = re.findall(rb"(?im)^proxy-authenticate:\s*(.*?)\r?$", head)
            raise ProxyRefusal(status, b", ".join(challenges).decode("latin-1"))
        return plain
    except BaseException:
        plain.close()
        raise


def connected(url, proxy):
    return tunnel(proxy, url) if proxy else socket.create_connection(address_of(url), timeout=TIMEOUT / 2)


def ask(way, text, method="GET", token=None, headers=None):
    url = urllib.parse.urlsplit(text)
    proxy = way(url)
    host, port = address_of(url)
    path = (url.path or "/") + ("?" + url.query if url.query else "")
    sent = {"Host": url.netloc, "Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "hubmirror-doctor"}
    sent.update(headers or {})
    if token is not None:
        sent["Authorization"] = "Bearer " + token
    if url.scheme == "https":
        connection = http.client.HTTPSConnection(host, port, timeout=TIMEOUT, context=context())
        if proxy:
            connection.sock = context().wrap_socket(tunnel(proxy, url), server_hostname=host)
    else:
        at = (proxy["host"], proxy["port"]) if proxy else (host, port)
        connection = http.client.HTTPConnection(at[0], at[1], timeout=TIMEOUT)
        if proxy:
            path = text
            if proxy["login"]:
                sent["Proxy-Authorization"] = proxy["login"]
    try:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in sent.items():
            connection.putheader(name, value)
        connection.endheaders()
        response = connection.getresponse()
        body, until = b"", time.time() + TIMEOUT
        while method != "HEAD" and len(body) < MAX_BODY:
            part = response.read1(65536)
            if not part:
                break
            if time.time() > until:
                raise socket.timeout("timed out")
            body += part
        return Seen(text, response.status, response.getheaders(), body)
    except http.client.HTTPException as error:
        raise OSError(type(error).__name__)
    finally:
        connection.close()


def origin_of(text):
    url = urllib.parse.urlsplit(text)
    return url.scheme, address_of(url)


def follow(way, text, method="GET", token=None, headers=None):
    seen = ask(way, text, method, token, headers)
    for _ in range(5):
        to = urllib.parse.urljoin(seen.url, seen.headers.get("location", ""))
        if not seen.is_redirect() or not re.match("https?://", to):
            break
        seen = ask(way, to, method, token if origin_of(to) == origin_of(text) else None, headers)
    return seen


def touch(host, port):
    began = time.time()
    socket.create_connection((host, port), timeout=5).close()
    return round((time.time() - began) * 1000)


def check_network(report, base):
    """The way that further requests go, or None. The proxy comes first: with one, the name may not be known here."""
    url = urllib.parse.urlsplit(base)
    host, port = address_of(url)
    proxy = proxy_of(url)
    variable = proxy["variable"] if proxy else ""
    through = check_proxy(report, base, url, proxy) if proxy else None
    if proxy is None:
        report.found("proxy-none", host=host)
    try:
        found = sorted({entry[4][0] for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)})
        report.found("dns-ok", host=host, addresses=", ".join(found))
    except OSError as error:
        report.found("dns-proxy" if proxy else "dns-failed", host=host, error=code_of(error), variable=variable)
        if through is None:
            return None
    try:
        report.found("tcp-ok", host=host, port=port, ms=touch(host, port))
    except OSError as error:
        refused = isinstance(error, ConnectionRefusedError)
        finding = "tcp-proxy" if proxy else "tcp-refused" if refused else "tcp-timeout"
        report.found(finding, host=host, port=port, error=code_of(error), variable=variable)
        if through is None:
            return None
    if url.scheme == "http":
        report.found("tls-none")
    elif not report_tls(report, url, through or read_tls(url)):
        return None
    return proxy_of if through else lambda url: None


def check_proxy(report, base, url, proxy):
    """What TLS says through the proxy; None if the proxy passes no requests on."""
    host, port = address_of(url)
    variable = proxy["variable"]
    values = {"host": host, "port": port, "variable": variable, "proxy": "%s:%d" % (proxy["host"], proxy["port"])}

    def login(challenge):
        schemes = [one for one in LOGINS if one.lower() in challenge.lower()]
        given = "that of %s is refused" % variable if proxy["login"] else variable + " has none"
        report.found("proxy-login", schemes=", ".join(schemes) or "of no known kind", given=given, **values)

    try:
        touch(proxy["host"], proxy["port"])
    except OSError as error:
        report.found("proxy-down", error=code_of(error), **values)
        return None
    try:
        through = read_tls(url, proxy) if url.scheme == "https" else NO_TLS
        finding = proxy_tls_fault(url, through)
        if finding is not None:
            report.found(finding[0], **finding[1], **values)
            return None
        # What is wrong with the certificate of the endpoint itself is the check tls. Nothing is sent then.
        seen = ask(proxy_of, base + "/api/whoami-v2") if through["error"] is None else None
        if seen is not None and seen.status == 407:
            login(seen.headers.get("proxy-authenticate", ""))
        elif seen is not None and is_of_proxy(base, url, seen):
            report.found("proxy-refuses", status=seen.status, **values)
        else:
            report.found("proxy-used", **values)
            return through
    except ProxyRefusal as error:
        if error.status == 407:
            login(error.challenge)
        else:
            report.found("proxy-refuses", status=error.status, **values)
    except (OSError, ValueError) as error:
        report.found("proxy-swallows", error=code_of(error), **values)
    return None


def is_of_proxy(base, url, seen):
    """Whether an answer that came through the proxy is not from the server at the endpoint."""
    if is_hub(seen):
        return False
    try:
        touch(*address_of(url))
        return is_hub(ask(lambda url: None, base + "/api/whoami-v2"))
    except (OSError, ValueError):
        return not seen.is_json() and (seen.status == 403 or seen.status >= 500)


def is_hub(seen):
    return seen.status in (200, 401) and seen.is_json()


def read_tls(url, proxy=None):
    """The certificate, and what is wrong with TLS. Nothing is sent. What is wrong with the way through a proxy is raised."""
    try:
        plain = connected(url, proxy)
    except OSError as error:
        if proxy:
            raise
        return {"error": error, "certificate": None}
    with plain:
        try:
            with context().wrap_socket(plain, server_hostname=address_of(url)[0]) as secure:
                return {"error": None, "certificate": secure.getpeercert(True)}
        except (OSError, ValueError) as failed:
            error = failed
    return {"error": error, "certificate": certificate_of(url, proxy)}


def proxy_tls_fault(url, through):
    error, certificate = through["error"], through["certificate"]
    if error is None:
        return None
    direct = read_tls(url)
    if certificate is not None and certificate == direct["certificate"]:
        return None
    if certificate is not None and tls_kind(error) == "tls-unknown-ca":
        other = "Without the proxy comes another one: the proxy opens TLS." if direct["certificate"] else ""
        return "proxy-ca", {"issuer": issuer_of(certificate), "other": other}
    # The check tls says what is wrong with a certificate, and that a server does not speak TLS with or without the proxy.
    if certificate is None:
        of_endpoint = direct["error"] is not None and code_of(direct["error"]) == code_of(error)
    else:
        of_endpoint = direct["certificate"] is None
    return None if of_endpoint else ("proxy-swallows", {"error": code_of(error)})


def report_tls(report, url, tls):
    host, port = address_of(url)
    error = tls["error"]
    if error is None:
        report.found("tls-ok", host=host)
    elif isinstance(error, ssl.SSLCertVerificationError):
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        issuer = issuer_of(tls["certificate"])
        report.found(tls_kind(error), host=host, error=error.verify_message, now=now, issuer=issuer)
    else:
        report.found("tls-plain", host=host, port=port, error=code_of(error))
    return error is None


def tls_kind(error):
    if not isinstance(error, ssl.SSLCertVerificationError):
        return "tls-plain"
    return {9: "tls-expired", 10: "tls-expired", 62: "tls-name", 64: "tls-name"}.get(error.verify_code, "tls-unknown-ca")


def certificate_of(url, proxy):
    """Of a connection that trusts every certificate: nothing is sent over it."""
    try:
        reader = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        reader.check_hostname = False
        reader.verify_mode = ssl.CERT_NONE
        with connected(url, proxy) as plain:
            with reader.wrap_socket(plain, server_hostname=address_of(url)[0]) as secure:
                return secure.getpeercert(True)
    except (OSError, ValueError):
        return None


def issuer_of(certificate):
    try:
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
            file.write(ssl.DER_cert_to_PEM_cert(certificate))
            file.flush()
            parts = dict(part for row in ssl._ssl._test_decode_cert(file.name)["issuer"] for part in row)
        return parts.get("commonName") or parts.get("organizationName") or "unknown"
    except Exception:
        return "unknown"
`
