"""Does what a user does first: takes a snapshot, logs in and asks who that is, reads a private file by the stored token, lists
a repo of many pages, and is refused. Prints as JSON what came of each. HF_TOKEN must not be set.

usage: place.py TOKEN
"""

import hashlib
import json
import os
import sys
from pathlib import Path

from huggingface_hub import HfApi, hf_hub_download, login, snapshot_download


def digest(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def snapshot(repo):
    folder = Path(snapshot_download(repo))
    paths = (Path(directory, name) for directory, _, names in os.walk(folder) for name in names)
    return {"commit": folder.name, "files": {path.relative_to(folder).as_posix(): digest(path) for path in paths}}


def refusal(repo, path, revision=None):
    try:
        hf_hub_download(repo, path, revision=revision, token=False)
    except Exception as error:  # the class is the answer
        return type(error).__name__
    return "ok"


said = {
    "snapshot": snapshot("acme/tiny"),
    "large": digest(hf_hub_download("acme/large", "large.bin")),
    "private, anonymous": refusal("acme/secret", "config.json"),
    "gated, anonymous": refusal("acme/gated", "config.json"),
    "no such file": refusal("acme/tiny", "absent.txt"),
    "no such revision": refusal("acme/tiny", "config.json", "absent"),
}
login(token=sys.argv[1], add_to_git_credential=False)
api = HfApi()
said["who"] = api.whoami()["name"]
said["private"] = digest(hf_hub_download("acme/secret", "config.json"))
said["files"] = len(list(api.list_repo_tree("acme/many")))
print(json.dumps(said))
