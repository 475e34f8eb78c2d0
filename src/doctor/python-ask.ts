// A part of the Python file that the mirror serves at /-/doctor.py: the head, and one request, as ask.ts sends it. See python-source.ts.

/** Python 3.8 or newer, with only the standard library. */
export const ASK = String.raw`#!/usr/bin/env python3
"""Finds why a client on this machine gets nothing from a mirror of the Hugging Face Hub, and says the cure.

  curl -s http://mirror:8080/-/doctor.py | python3 - [--endpoint URL] [--token TOKEN | --token-file FILE]
                                                     [--repo REPO] [--file PATH] [--json]

Python 3.8 or newer, and nothing but its standard library. The same checks and words as hubmirror doctor.
"""
import argparse, base64, datetime, email.utils, http.client, json, os, re, secrets, select, shutil, socket, ssl
import sys, tempfile, threading, time, urllib.parse, urllib.request

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


def proxy_variable(url):
    variable = set_value(url.scheme + "_proxy", (url.scheme + "_proxy").upper(), "all_proxy", "ALL_PROXY")
    return None if urllib.request.proxy_bypass_environment(url.netloc.rpartition("@")[2]) else variable


def proxy_of(url):
    variable = proxy_variable(url)
    if variable is None:
        return None
    text = ENV[variable].strip()
    proxy = urllib.parse.urlsplit(text if "://" in text else "http://" + text)
    try:
        host, port = address_of(proxy)
    except ValueError:
        return None
    if proxy.scheme not in ("http", "https") or not host or proxy.path not in ("", "/"):
        return None
    login = None
    if proxy.username is not None:
        pair = urllib.parse.unquote(proxy.username) + ":" + urllib.parse.unquote(proxy.password or "")
        login = "Basic " + base64.b64encode(pair.encode()).decode()
    return {"variable": variable, "url": proxy, "host": host, "port": port, "login": login}


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
    def __init__(self, url, status, headers, body, cut):
        self.url, self.status, self.body, self.cut = url, status, body, cut
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

    def files(self):
        """The names of files in an answer about a repo, in their order, also if it is cut."""
        return [json.loads(name) for name in re.findall(r'"rfilename"\s*:\s*("(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*")', self.text)]

    def is_repo(self):
        return isinstance(self.field("id"), str) or (self.cut and self.is_json())

    def is_json(self):
        return "json" in self.headers.get("content-type", "").lower()

    def is_redirect(self):
        return self.status in (301, 302, 303, 307, 308) and "location" in self.headers

    def is_offline(self):
        """Whether a mirror without the Hub says that it cannot answer this."""
        return any(self.headers.get(name, "").startswith("OfflineAnd") for name in ("x-error-code", "x-hf-warning"))

    def said(self):
        text = self.headers.get("x-error-message") or self.text[:200]
        return text[:-1] if text.endswith(".") else text


class ProxyRefusal(OSError):
    def __init__(self, status, challenge):
        super().__init__("the proxy answers %d" % status)
        self.status, self.challenge = status, challenge


def to_proxy(proxy):
    """A connection to the proxy, with TLS where its address says https."""
    plain = socket.create_connection((proxy["host"], proxy["port"]), timeout=TIMEOUT)
    if proxy["url"].scheme == "http":
        return plain
    try:
        return context().wrap_socket(plain, server_hostname=proxy["host"])
    except BaseException:
        plain.close()
        raise


def relayed(secure):
    """A socket for what goes over one with TLS: Python does not put TLS into TLS by itself."""
    near, far = socket.socketpair()

    def relay():
        with far, secure:
            while True:
                ready = [secure] if secure.pending() else select.select([far, secure], [], [], TIMEOUT)[0]
                if not ready:
                    return
                if far in ready:
                    part = far.recv(65536)
                    secure.settimeout(TIMEOUT)
                    secure.sendall(part)
                    if not part:
                        return
                if secure in ready:
                    # It can be ready for a message of TLS that holds no bytes.
                    secure.settimeout(0)
                    try:
                        part = secure.recv(65536)
                    except ssl.SSLWantReadError:
                        continue
                    if not part:
                        return
                    far.sendall(part)

    def run():
        try:
            relay()
        except (OSError, ValueError):
            pass

    threading.Thread(target=run, daemon=True).start()
    near.settimeout(TIMEOUT)
    return near


def tunnel(proxy, url):
    host, port = address_of(url)
    at = "%s:%d" % ("[%s]" % host if ":" in host else host, port)
    lines = ["CONNECT %s HTTP/1.1" % at, "Host: " + at]
    if proxy["login"]:
        lines.append("Proxy-Authorization: " + proxy["login"])
    plain = to_proxy(proxy)
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
        return relayed(plain) if isinstance(plain, ssl.SSLSocket) else plain
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
        connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT)
        if proxy:
            connection.sock = to_proxy(proxy)
            path = text
            if proxy["login"]:
                sent["Proxy-Authorization"] = proxy["login"]
    try:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in sent.items():
            connection.putheader(name, value)
        connection.endheaders()
        response = connection.getresponse()
        body, until, length = b"", time.time() + TIMEOUT, response.length
        while method != "HEAD" and len(body) <= MAX_BODY and len(body) != length:
            part = response.read1(65536)
            if not part and length:
                raise ConnectionResetError("the answer is cut off")
            if not part:
                break
            if time.time() > until:
                raise socket.timeout("timed out")
            body += part
        return Seen(text, response.status, response.getheaders(), body, len(body) > MAX_BODY)
    except http.client.HTTPException as error:
        raise OSError(type(error).__name__)
    finally:
        connection.close()


class ElsewhereFailed(OSError):
    def __init__(self, target, error):
        super().__init__(code_of(error))
        self.target = target


def origin_of(text):
    url = urllib.parse.urlsplit(text)
    return url.scheme, address_of(url)


def follow(way, text, method="GET", token=None, headers=None):
    seen = ask(way, text, method, token, headers)
    for _ in range(5):
        to = urllib.parse.urljoin(seen.url, seen.headers.get("location", ""))
        if not seen.is_redirect() or not re.match("https?://", to):
            break
        if origin_of(to) == origin_of(text):
            seen = ask(way, to, method, token, headers)
            continue
        try:
            seen = ask(way, to, method, None, headers)
        except (OSError, ValueError) as error:
            raise ElsewhereFailed(urllib.parse.urlsplit(to).netloc, error)
    return seen
`
