"""Asks for what a rule of the mirror denies, and for what is beside it; prints what was raised and what it says.

usage: policy.py REPO DENIED_FILE
"""

import json
import os
import sys

from huggingface_hub import HfApi, hf_hub_download, snapshot_download

repo, denied = sys.argv[1:]


def raised(work):
    try:
        work()
    except Exception as error:  # the class and the words are the answer
        return [type(error).__name__, str(error).strip().splitlines()[-1]]
    return ["ok", ""]


folder = {}


def rest():
    folder["path"] = snapshot_download(repo, ignore_patterns=[denied])


answer = {
    "file": raised(lambda: hf_hub_download(repo, denied)),
    "beside": raised(lambda: hf_hub_download(repo, "config.json")),
    "snapshot": raised(lambda: snapshot_download(repo)),
    "rest": raised(rest),
    "info": raised(lambda: HfApi().model_info(repo)),
    "repo": raised(lambda: hf_hub_download("acme/bert", "config.json")),
    "repo info": raised(lambda: HfApi().model_info("acme/bert")),
    "repo snapshot": raised(lambda: snapshot_download("acme/bert")),
}
if "path" in folder:
    found = [os.path.join(base, name) for base, _, names in os.walk(folder["path"]) for name in names]
    answer["files"] = sorted(os.path.relpath(path, folder["path"]) for path in found)
print(json.dumps(answer))
