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


def ask(way, text, method="GET", token=None, headers=None):
    url = urllib.parse.urlsplit(text)
    proxy = way(url)
    host, port = address_of(url)
    path = (url.path or "/") + ("?" + url.query if url.query else "")
    sent = {"Host": url.netloc, "Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "hubmirror-doctor"}
    sent.update(headers or {})
    if token is not None:
        sent["Authorization"] = "Bearer " + token
    at = (proxy["host"], proxy["port"]) if proxy else (host, port)
    if url.scheme == "https":
        connection = http.client.HTTPSConnection(at[0], at[1], timeout=TIMEOUT, context=context())
        if proxy:
            connection.set_tunnel(host, port, {"Proxy-Authorization": proxy["login"]} if proxy["login"] else {})
    else:
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
    """The way that further requests go, or None. The proxy is asked first: with one, the name may not be known here."""
    url = urllib.parse.urlsplit(base)
    host, port = address_of(url)
    proxy, swallowed = proxy_of(url), None
    variable = proxy["variable"] if proxy else ""
    if proxy:
        try:
            ask(proxy_of, base)
        except OSError as error:
            swallowed = error
    proxied = proxy is not None and swallowed is None
    try:
        found = sorted({entry[4][0] for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)})
        report.found("dns-ok", host=host, addresses=", ".join(found))
    except OSError as error:
        if not proxied:
            report.found("dns-failed", host=host, error=code_of(error))
            return None
        report.found("dns-proxy", host=host, variable=variable)
    closed = None
    try:
        report.found("tcp-ok", host=host, port=port, ms=touch(host, port))
    except OSError as error:
        closed = error
    if closed is not None and not proxied:
        refused = isinstance(closed, ConnectionRefusedError)
        report.found("tcp-refused" if refused else "tcp-timeout", host=host, port=port, error=code_of(closed))
        return None
    if closed is not None:
        report.found("tcp-proxy", host=host, port=port, variable=variable)
    if url.scheme == "http":
        report.found("tls-none")
    elif closed is not None:
        report.found("tls-ok", host=host)
    elif not check_tls(report, host, port):
        return None
    if proxy is None:
        report.found("proxy-none", host=host)
    elif proxied:
        report.found("proxy-used", variable=variable)
    else:
        report.found("proxy-swallows", host=host, variable=variable, error=code_of(swallowed))
    return proxy_of if proxied else lambda url: None


def check_tls(report, host, port):
    try:
        with socket.create_connection((host, port), timeout=10) as plain:
            with context().wrap_socket(plain, server_hostname=host):
                report.found("tls-ok", host=host)
                return True
    except ssl.SSLCertVerificationError as error:
        if error.verify_code in (9, 10):
            now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
            report.found("tls-expired", host=host, error=error.verify_message, now=now)
        elif error.verify_code in (62, 64):
            report.found("tls-name", host=host, error=error.verify_message)
        else:
            report.found("tls-unknown-ca", host=host, issuer=issuer_of(host, port))
    except (OSError, ValueError) as error:
        report.found("tls-plain", host=host, port=port, error=code_of(error))
    return False


def issuer_of(host, port):
    """Only reads the certificate: nothing is sent over this connection."""
    try:
        reader = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        reader.check_hostname = False
        reader.verify_mode = ssl.CERT_NONE
        with socket.create_connection((host, port), timeout=10) as plain:
            with reader.wrap_socket(plain, server_hostname=host) as secure:
                pem = ssl.DER_cert_to_PEM_cert(secure.getpeercert(True))
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
            file.write(pem)
            file.flush()
            parts = dict(part for row in ssl._ssl._test_decode_cert(file.name)["issuer"] for part in row)
        return parts.get("commonName") or parts.get("organizationName") or "unknown"
    except Exception:
        return "unknown"
`
