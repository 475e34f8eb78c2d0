// A part of the Python file that the mirror serves at /-/doctor.py: the way to the endpoint. See python-source.ts.

/** Python 3.8 or newer, with only the standard library. */
export const NETWORK = String.raw`def touch(host, port):
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
    if proxy is None and proxy_variable(url):
        report.found("proxy-unchecked", host=host, variable=proxy_variable(url))
    elif proxy is None:
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
    if proxy["url"].scheme == "https":
        error = read_tls(proxy["url"])["error"]
        if error is not None:
            report.found("proxy-tls", error=code_of(error), **values)
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
