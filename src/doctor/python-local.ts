// A part of the Python file that the mirror serves at /-/doctor.py: what lies on this machine, and the command line. See python-source.ts.

/** Python 3.8 or newer, with only the standard library. */
export const LOCAL = String.raw`def read_small(path):
    try:
        if os.path.isfile(path) and os.path.getsize(path) <= 5000000:
            with open(path, encoding="utf-8", errors="replace") as file:
                return file.read()
    except OSError:
        pass
    return None


def home_of():
    cache = ENV.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return ENV.get("HF_HOME") or os.path.join(cache, "huggingface")


def token_path():
    return ENV.get("HF_TOKEN_PATH") or os.path.join(home_of(), "token")


def find_token():
    name = set_value("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
    if name:
        return ENV[name].strip(), name
    text = (read_small(token_path()) or "").strip()
    return (text, token_path()) if text else (None, "")


def check_form(report, token, source):
    problem = None
    if re.match(r"bearer\b", token, re.I):
        problem = "it begins with Bearer"
    elif re.search("[\"']", token):
        problem = "it holds quotes"
    elif re.search(r"\s", token):
        problem = "it holds white space"
    elif re.search(r"[^\x21-\x7e]", token):
        problem = "it holds characters that no token has"
    if problem:
        report.found("token-shape-wrong", source=source, problem=problem)
    else:
        good = re.match(r"hf_[A-Za-z0-9_.-]{10,}$", token)
        report.found("token-shape-ok" if good else "token-shape-odd", source=source)
    return problem is None


def check_clock(report, seen):
    try:
        date = email.utils.parsedate_to_datetime(",".join(seen.headers["date"].split(",")[:2])).timestamp()
    except (KeyError, TypeError, ValueError):
        report.skip(["clock"], "none")
        return
    seconds = round(abs(time.time() - date))
    report.found("clock-off" if seconds > CLOCK else "clock-ok", seconds=seconds)


def is_on(name):
    return re.match("(1|on|yes|true)$", ENV.get(name, ""), re.I)


def contradiction(base):
    named = ENV.get("HF_ENDPOINT", "").strip()
    if not named:
        unset = "HF_ENDPOINT is not set, so clients ask https://huggingface.co and not the endpoint checked here"
        return None if base == "https://huggingface.co" else unset
    if named.rstrip("/").lower() != base.lower():
        return "HF_ENDPOINT names another server than the endpoint checked here, and clients ask that other one"
    # In a notebook this file runs beside clients that were imported before.
    loaded = sys.modules.get("huggingface_hub.constants")
    if loaded is not None and str(getattr(loaded, "ENDPOINT", base)).rstrip("/") != base:
        return "HF_ENDPOINT was set after huggingface_hub was imported, so the import does not know it"
    first, second = ENV.get("HF_TOKEN", "").strip(), ENV.get("HUGGING_FACE_HUB_TOKEN", "").strip()
    if first and second and first != second:
        return "HF_TOKEN and HUGGING_FACE_HUB_TOKEN hold different tokens, and HF_TOKEN wins"
    stored = (read_small(token_path()) or "").strip()
    if first and stored and first != stored:
        return "HF_TOKEN and the file of hf auth login hold different tokens, and HF_TOKEN wins"
    if is_on("HF_HUB_DISABLE_IMPLICIT_TOKEN") and (first or stored):
        return "HF_HUB_DISABLE_IMPLICIT_TOKEN is set, so clients send the token only where code asks for it"
    if named.endswith("/"):
        return "HF_ENDPOINT ends with a slash, which datasets and older clients put before every path"
    return None


def check_environment(report, base, served):
    for variable in ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE"]:
        if is_on(variable):
            return report.found("environment-offline", variable=variable)
    for variable in CA_VARIABLES:
        if ENV.get(variable) and not os.access(ENV[variable], os.R_OK):
            return report.found("environment-file", variable=variable)
    if served not in (None, base):
        return report.found("environment-served", endpoint=base, served=served)
    problem = contradiction(base)
    report.found("environment-differs", problem=problem) if problem else report.found("environment-ok")


def check_clients(report):
    import importlib.metadata

    found = []
    for name in ["huggingface_hub", "hf_xet", "transformers", "datasets"]:
        try:
            found.append((name, importlib.metadata.version(name)))
        except Exception:
            pass
    versions = ", ".join("%s %s" % one for one in found)
    version = dict(found).get("huggingface_hub", "")
    if not found:
        report.found("clients-none")
    elif "hf_xet" in dict(found) and re.match(r"0\.3[0-3]\.", version):
        report.found("clients-old", version=version, versions=versions)
    else:
        report.found("clients-found", versions=versions)


def entries(path):
    try:
        return os.listdir(path)
    except OSError:
        return []


def check_local(report, base, served):
    check_environment(report, base, served)
    check_clients(report)
    home = home_of()
    cache = ENV.get("HF_HUB_CACHE") or os.path.join(home, "hub")
    paths = (os.path.join(cache, repo, "trees", name) for repo in entries(cache)[:500] for name in entries(os.path.join(cache, repo, "trees")))
    count = sum(1 for _, path in zip(range(MAX_TREES), paths) if re.search('"xet_?hash": ?"', read_small(path) or "", re.I))
    report.found("trees-xet", count=count, path=cache) if count else report.found("trees-ok")
    path = home
    while not os.path.exists(path) and os.path.dirname(path) != path:
        path = os.path.dirname(path)
    free = shutil.disk_usage(path).free
    report.found("disk-full" if free < DISK_LOW else "disk-ok", path=path, free="%.1f" % (free / 1e9))


def check_server(report, way, base, token, source, options):
    kind, repo = options.repo or ("models", USUAL_REPO)
    # So that a cache that ignores Authorization keeps no answer about this token for others.
    query = "?doctor=" + secrets.token_hex(6)
    seen = check_endpoint(report, way, base, kind, repo, query)
    if seen is None:
        return
    check_clock(report, seen)
    name = check_token(report, way, base, token, source, seen, query)
    # A token that is not accepted would hide what else is there: the rest goes without it.
    if name is None and token is not None and (seen.status >= 500 or seen.status == 404):
        name = "this caller"
    sample = check_repo(report, way, base, kind, repo, options.repo is not None, options.file, token, name)
    check_links(report, way, base, sample and sample["link"])
    check_file(report, way, base, kind, repo, None if name is None else token, sample)
    report.found("connection-ok")


def repo_of(text):
    kind, _, rest = text.partition("/")
    kinds = {"model": "models", "dataset": "datasets", "space": "spaces"}
    if rest and kind.rstrip("s") in kinds and (kind in kinds or kind in kinds.values()):
        kind, text = kinds[kind.rstrip("s")], rest
    else:
        kind = "models"
    if not re.match(r"[\w.-]+(/[\w.-]+)?$", text, re.A):
        raise argparse.ArgumentTypeError("expected org/name or datasets/org/name")
    return kind, text


def endpoint_of(text):
    url = urllib.parse.urlsplit(text.strip())
    try:
        good = url.scheme in ("http", "https") and url.hostname and url.username is None and url.port != 0
    except ValueError:
        good = False
    if not good or re.search(r"[^\x21-\x7e]", text.strip()):
        raise argparse.ArgumentTypeError("the endpoint must be an address such as http://mirror:8080")
    return "%s://%s%s" % (url.scheme, url.netloc.lower(), url.path.rstrip("/"))


def main():
    parser = argparse.ArgumentParser(prog="doctor.py", description="Find why this client gets nothing from a mirror, and say the cure.")
    parser.add_argument("--endpoint", type=endpoint_of, help="by default HF_ENDPOINT, else the mirror that served this file")
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--token", help="by default HF_TOKEN, else the file of hf auth login")
    group.add_argument("--token-file", type=argparse.FileType("r"))
    parser.add_argument("--repo", type=repo_of, help="org/name or datasets/org/name")
    parser.add_argument("--file", help="a file of that repo")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    base, served = options.endpoint, None
    if base is None:
        try:
            served = endpoint_of(SERVED_FROM or "https://huggingface.co")
            base = endpoint_of(ENV["HF_ENDPOINT"]) if set_value("HF_ENDPOINT") else served
        except argparse.ArgumentTypeError as error:
            parser.error(str(error))
    if options.token is not None:
        token, source = options.token.strip(), "--token"
    elif options.token_file is not None:
        token, source = options.token_file.read().strip(), options.token_file.name
    else:
        token, source = find_token()
    report = Report()
    good = token is not None and check_form(report, token, source)
    if token is None:
        report.skip(["token-form"], "token")
    else:
        report.found("token-here", source=source)
    if token is not None and not good:
        report.skip(["token-valid"], "before", check="token-form")
    try:
        way = check_network(report, base)
        if way is not None:
            check_server(report, way, base, token if good else None, source, options)
    except (OSError, ValueError) as error:
        # The server has answered before: it breaks off, or takes too long.
        report.found("connection-breaks", endpoint=base, error=code_of(error))
    if token is None:
        report.found("token-none")
    check_local(report, base, served)
    checks = report.all()
    first = [check["id"] for check in checks if check["status"] == "fail"][:1]
    if options.json:
        print(json.dumps({"ok": not first, "checks": checks}, indent=2))
    else:
        for check in checks:
            print("%-4s  %-15s  %s" % (check["status"], check["id"], check["message"]))
            if check["cure"]:
                print("      %-15s  Cure: %s" % ("", check["cure"]))
        print("\nCure this first: %s." % first[0] if first else "\nNo check failed.")
    return 1 if first else 0


if __name__ == "__main__":
    sys.exit(main())
`
