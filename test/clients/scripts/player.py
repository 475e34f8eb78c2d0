"""Plays huggingface_hub one call at a time: a JSON line in says what to do, a JSON line out says what happened.

in:  {"call": "file", "repo": ..., "path": ...} with "token"? and "revision"?; or "snapshot", "list", "slice", "whoami"
out: {"ok": true, "value": ...} or {"ok": false, "error": the class of what was raised}

Every call has a cache of its own, so that what it gets came over the network now. A call without a token is anonymous.
The client tries as often as it does for everybody; only its waits between two tries are left out.
"""

import hashlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from huggingface_hub import HfApi, HfFileSystem, hf_hub_download, snapshot_download

time.sleep = lambda seconds: None


def digest(data):
    return hashlib.sha256(data).hexdigest()


def play(case, cache_dir):
    call, repo, token = case["call"], case.get("repo"), case.get("token", False)
    revision = case.get("revision")
    if call == "file":
        local = hf_hub_download(repo, case["path"], revision=revision, token=token, cache_dir=cache_dir)
        return digest(Path(local).read_bytes())
    if call == "snapshot":
        folder = snapshot_download(repo, revision=revision, token=token, cache_dir=cache_dir)
        found = {}
        for directory, _, names in os.walk(folder):
            for name in names:
                path = Path(directory, name)
                found[path.relative_to(folder).as_posix()] = digest(path.read_bytes())
        return found
    if call == "list":
        return len(HfApi(token=token).list_repo_files(repo, revision=revision))
    if call == "slice":
        with HfFileSystem(token=token, skip_instance_cache=True).open(
            f"{repo}/{case['path']}", "rb", block_size=65536
        ) as file:
            file.seek(case["start"])
            return digest(file.read(case["end"] - case["start"]))
    if call == "whoami":
        return HfApi(token=token).whoami()["name"]
    raise SystemExit(f"unknown call {call}")


for line in sys.stdin:
    with tempfile.TemporaryDirectory() as cache_dir:
        try:
            answer = {"ok": True, "value": play(json.loads(line), cache_dir)}
        except Exception as error:  # the class is the answer
            answer = {"ok": False, "error": type(error).__name__, "text": str(error)[:300]}
    print(json.dumps(answer), flush=True)
