// A part of the Python file that the mirror serves at /-/doctor.py: what the server does with requests. See python-source.ts.

/** Python 3.8 or newer, with only the standard library. */
export const HUB = String.raw`def check_endpoint(report, way, base, kind, repo, query):
    try:
        seen = ask(way, base + "/api/whoami-v2" + query)
    except OSError as error:
        report.found("endpoint-failed", endpoint=base, error=code_of(error))
        return None
    status, headers = seen.status, seen.headers
    server = " (hubmirror)" if "hubmirror" in headers.get("cache-status", "") else ""
    if seen.is_redirect():
        report.found("endpoint-elsewhere", endpoint=base, status=status, target=headers["location"])
        return None
    if seen.is_json() and (status < 400 or status in (401, 403, 429)):
        report.found("endpoint-ok", endpoint=base, server=server)
        return seen
    if seen.is_json() and (status >= 500 or seen.is_offline()):
        report.found("endpoint-hub-away", endpoint=base, status=status, said=seen.said())
        return seen
    # A mirror may know repos and not accounts.
    try:
        info = ask(way, base + "/api/%s/%s" % (kind, repo))
        if info.status == 200 and info.is_repo():
            report.found("endpoint-ok", endpoint=base, server=server)
            return seen
    except OSError:
        pass
    if status >= 500:
        report.found("endpoint-gateway", status=status)
    elif status == 401:
        report.found("endpoint-login", status=status, challenge=headers.get("www-authenticate", "no challenge"))
    else:
        kind_of = headers.get("content-type", "no type")
        page = "html" in kind_of.lower() and status < 400
        other = other_prefix(way, base)
        report.found("endpoint-page" if page else "endpoint-prefix", endpoint=base, status=status, type=kind_of, other=other)
    return None


def other_prefix(way, base):
    url = urllib.parse.urlsplit(base)
    root = url.scheme + "://" + url.netloc
    for prefix in ["", "/hugging-face", "/huggingface", "/hf", "/hub"]:
        if root + prefix == base:
            continue
        try:
            seen = ask(way, root + prefix + "/api/whoami-v2")
        except OSError:
            continue
        if seen.status == 401 and seen.is_json():
            return "There is one at %s%s." % (root, prefix)
    return ""


def check_token(report, way, base, token, source, anonymous, query):
    if anonymous.status >= 500 or anonymous.status == 404:
        report.skip(["token-forwarded", "token-valid"], "away")
        return None
    whoami = base + "/api/whoami-v2" + query
    mine = ask(way, whoami, token=token) if token is not None else None
    # Well formed, so that no server refuses its form, and never issued.
    wrong = ask(way, whoami, token="hf_" + secrets.token_hex(17))
    message = lambda seen: (seen.status, seen.headers.get("x-error-message") or seen.text)
    if anonymous.status == 200 or wrong.status == 200:
        report.found("token-shared")
    elif (mine is not None and mine.status == 200) or message(anonymous) != message(wrong):
        report.found("token-forwarded-ok")
    elif anonymous.status == 429:
        report.skip(["token-forwarded"], "away")
    else:
        # Some Hubs say the same to both here. A list is refused to a wrong token, and not to a caller without one.
        listing = base + "/api/models?limit=1" + query.replace("?", "&")
        free, refused = ask(way, listing), ask(way, listing, token="hf_" + "x" * 34)
        if free.status != 200:
            report.skip(["token-forwarded"], "none")
        elif refused.status == 200:
            report.found("token-dropped", endpoint=base)
        elif refused.status in (401, 403):
            report.found("token-forwarded-ok")
        else:
            report.skip(["token-forwarded"], "none")
    if mine is None:
        report.skip(["token-valid"], "token")
        return None
    if report.failed("token-forwarded"):
        return None
    if mine.status == 200:
        name, mirror = mine.field("name"), str(mine.field("id")).startswith("mirror-token-")
        name = name if isinstance(name, str) else "unknown"
        report.found("token-ok", name=name, kind="the mirror token" if mirror else "a Hub token")
        return name
    if mine.status in (401, 403):
        report.found("token-wrong", endpoint=base, source=source)
    else:
        report.found("token-quota", status=mine.status, said=mine.said())
    return None


def file_url(base, kind, repo, path):
    return base + ("/" if kind == "models" else "/" + kind + "/") + repo + "/resolve/main/" + urllib.parse.quote(path)


def sample_of(way, base, kind, repo, file, token, info):
    tree = follow(way, base + "/api/%s/%s/tree/main?recursive=true" % (kind, repo), token=token)
    listing = tree.json() if tree.status == 200 else None
    files = [entry for entry in listing if isinstance(entry, dict)] if isinstance(listing, list) else []
    files = [entry for entry in files if entry.get("type") == "file" and isinstance(entry.get("size"), int) and entry["size"] > 0]
    files.sort(key=lambda entry: ("lfs" not in entry, entry["size"]))
    found = [entry for entry in files if file is None or entry.get("path") == file][:1]
    return {
        "path": str(found[0]["path"]) if found else file or (info.files() or ["config.json"])[0],
        "size": found[0]["size"] if found else None,
        "xet": any(isinstance(entry.get("xetHash"), str) for entry in files) or (tree.cut and '"xetHash":"' in tree.text),
        "link": tree.headers.get("link"),
    }


def check_repo(report, way, base, kind, repo, named, file, token, name):
    use = None if name is None else token
    info = follow(way, base + "/api/%s/%s" % (kind, repo), token=use)
    refusal, sample = (None if info.status == 200 else info), None
    if refusal is None:
        sample = sample_of(way, base, kind, repo, file, use, info)
        first = ask(way, file_url(base, kind, repo, sample["path"]), "HEAD", token=use)
        refusal = first if first.status in (401, 403) else None
    label = ("" if kind == "models" else kind + "/") + repo
    if refusal is None:
        report.found("repo-ok", repo=label)
        report.found("gate-none", repo=label)
        return sample
    if not named:
        report.found("repo-none", repo=label)
    elif "refused-here" in refusal.headers.get("cache-status", ""):
        report.found("repo-refused", repo=label, said=refusal.said())
    elif refusal.is_offline():
        report.found("repo-absent", repo=label, said=refusal.said())
    elif use is None and refusal.status in (401, 403, 404):
        if token is None:
            report.found("token-needed", repo=label)
    elif refusal.headers.get("x-error-code") == "GatedRepo":
        report.found("repo-ok", repo=label)
        report.found("gate-closed", repo=label, name=name or "", page="https://huggingface.co/" + label)
    elif refusal.status in (401, 403, 404):
        report.found("repo-denied", repo=label, name=name or "")
    else:
        report.found("repo-error", repo=label, status=refusal.status, said=refusal.said())
    return None


def check_file(report, way, base, kind, repo, token, sample):
    if sample is None:
        report.skip(FILE_CHECKS, "repo")
        return
    file, size = sample["path"], sample["size"]
    head = ask(way, file_url(base, kind, repo, file), "HEAD", token=token)
    commit = head.headers.get("x-repo-commit", "")
    # Clients follow a redirect that stays at the host, as the Hub sends it for small files.
    for _ in range(5):
        to = urllib.parse.urljoin(head.url, head.headers.get("location", ""))
        if not head.is_redirect() or origin_of(to) != origin_of(base):
            break
        head = ask(way, to, "HEAD", token=token)
    headers = head.headers
    length = headers.get("x-linked-size", headers.get("content-length"))
    if head.status >= 400:
        report.found("headers-failed", file=file, status=head.status, said=head.said())
        report.skip(FILE_CHECKS, "before", check="headers")
        return
    if not re.match(r"[0-9a-f]{40}$", headers.get("x-repo-commit", commit)):
        report.found("headers-commit", file=file)
    elif not headers.get("x-linked-etag", headers.get("etag")):
        report.found("headers-etag", file=file)
    elif length is None or (size is not None and length != str(size)):
        report.found("headers-length", file=file, length=length or "(none)", size="other" if size is None else size)
    else:
        report.found("headers-ok", file=file)
    encoding = ask(way, head.url, "HEAD", token, {"Accept-Encoding": "gzip, br"}).headers.get("content-encoding", "")
    report.found("encoding-compressed" if encoding else "encoding-ok", file=file, encoding=encoding)
    check_range(report, way, file_url(base, kind, repo, file), file, token)
    cross = ask(way, head.url, "HEAD", token, {"Origin": "https://example.com"})
    report.found("cors-ok" if "access-control-allow-origin" in cross.headers else "cors-missing")
    offered = "x-xet-hash" in headers and "xet-auth" in headers.get("link", "")
    if offered or sample["xet"]:
        check_xet(report, way, base, kind, repo, token)
    else:
        report.found("xet-none")


def check_range(report, way, url, file, token):
    try:
        part = follow(way, url, token=token, headers={"Range": "bytes=0-0"})
        span = part.headers.get("content-range", "(none)")
        right = part.status == 206 and re.match(r"bytes 0-0/\d+$", span) and len(part.body) == 1
        report.found("range-ok" if right else "range-ignored", file=file, status=part.status, range=span)
        etag = part.headers.get("etag")
        if etag is not None:
            same = follow(way, url, "HEAD", token, {"If-None-Match": etag})
            report.found("conditional-ok" if same.status == 304 else "conditional-ignored", status=same.status)
    except ElsewhereFailed as error:
        report.found("range-unreachable", file=file, target=error.target, error=code_of(error))


def check_xet(report, way, base, kind, repo, token):
    try:
        asked = follow(way, base + "/api/%s/%s/xet-read-token/main" % (kind, repo), token=token)
        cas = asked.field("casUrl")
        if asked.status != 200 or not isinstance(cas, str) or not urllib.parse.urlsplit(cas).hostname:
            report.found("xet-broken", problem="xet-read-token is answered with %d" % asked.status)
            return
        url = urllib.parse.urlsplit(cas)
        if address_of(url) == address_of(urllib.parse.urlsplit(base)):
            report.found("xet-here")
            return
        try:
            if way(url) is None:
                touch(*address_of(url))
            report.found("xet-away", target=url.netloc)
        except OSError as error:
            report.found("xet-broken", problem="%s is not reachable (%s)" % (url.netloc, code_of(error)))
    except ElsewhereFailed as error:
        report.found("xet-broken", problem="%s does not answer (%s)" % (error.target, code_of(error)))


def check_links(report, way, base, link):
    if link is None:
        link = ask(way, base + "/api/models?limit=1").headers.get("link")
    found = re.search(r'<([^>]*)>\s*;\s*rel="?next', link or "", re.I)
    if not found:
        report.skip(["links"], "none")
        return
    target = urllib.parse.urljoin(base + "/", found.group(1))
    if target.startswith(base + "/"):
        report.found("links-ok")
    else:
        report.found("links-away", target=urllib.parse.urlsplit(target).netloc)
`
