"""Plays cases that should mostly fail, and prints for each the class of what was raised (and with "show" its text), or "ok".

usage: refusals.py CASES, where CASES is JSON: [{"name", "call", "repo", "path"?, "revision"?, "token"?, "show"?}].
A case without a token is anonymous.
"""

import json
import sys
import tempfile

from huggingface_hub import HfApi, hf_hub_download, snapshot_download


def play(case, cache_dir):
    token = case.get("token", False)
    repo, revision = case.get("repo"), case.get("revision")
    api = HfApi(token=token)
    if case["call"] == "file":
        hf_hub_download(repo, case["path"], revision=revision, token=token, cache_dir=cache_dir)
    elif case["call"] == "snapshot":
        snapshot_download(repo, revision=revision, token=token, cache_dir=cache_dir)
    elif case["call"] == "info":
        api.model_info(repo, revision=revision)
    elif case["call"] == "tree":
        list(api.list_repo_tree(repo, revision=revision, recursive=True))
    elif case["call"] == "exists":
        return str(api.repo_exists(repo))
    elif case["call"] == "file_exists":
        return str(api.file_exists(repo, case["path"]))
    elif case["call"] == "auth_check":
        api.auth_check(repo)
    elif case["call"] == "whoami":
        return api.whoami()["name"]
    else:
        raise SystemExit(f"unknown call {case['call']}")
    return "ok"


answers = {}
for case in json.loads(sys.argv[1]):
    with tempfile.TemporaryDirectory() as cache_dir:
        try:
            answers[case["name"]] = play(case, cache_dir)
        except Exception as error:  # the class is the answer
            shown = f": {error}" if case.get("show") else ""
            answers[case["name"]] = type(error).__name__ + shown
print(json.dumps(answers))
