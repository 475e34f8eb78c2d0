"""Asks for everything that a snapshot implies, and for what it does not, as JSON: each answer, or the class and the
text of what was raised. The client's waits between two tries are left out, and counted.

usage: unreachable_hub.py REPO_ID COMMIT FOLDER FILE ABSENT_FILE
"""

import hashlib
import json
import logging
import sys
import tempfile
import time

from huggingface_hub import HfApi, HfFileSystem, hf_hub_download, snapshot_download

waits, said = [], []


class Listener(logging.Handler):
    def emit(self, record):
        said.append(record.getMessage())


logging.getLogger("huggingface_hub").addHandler(Listener())
time.sleep = waits.append

repo, commit, folder, file, absent = sys.argv[1:]
api = HfApi()
fs = HfFileSystem(skip_instance_cache=True)


def download(*args, **kwargs):
    with tempfile.TemporaryDirectory() as cache_dir:
        return hf_hub_download(*args, cache_dir=cache_dir, **kwargs) and None


def snapshot(*args, **kwargs):
    with tempfile.TemporaryDirectory() as cache_dir:
        return snapshot_download(*args, cache_dir=cache_dir, **kwargs) and None


def info(**kwargs):
    found = api.model_info(repo, **kwargs)
    return [found.id, found.sha, found.private, sorted(sibling.rfilename for sibling in found.siblings)]


def blobs():
    found = api.model_info(repo, files_metadata=True)
    digests = {s.rfilename: [s.size, s.blob_id, s.lfs and s.lfs["sha256"]] for s in found.siblings}
    return [found.sha, dict(sorted(digests.items()))]


def items(found):
    return sorted([item.path, getattr(item, "size", None), getattr(item, "blob_id", None)] for item in found)


CALLS = {
    "info": info,
    "infoOfMain": lambda: info(revision="main"),
    "infoOfCommit": lambda: info(revision=commit),
    "blobs": blobs,
    "files": lambda: sorted(api.list_repo_files(repo)),
    "filesOfCommit": lambda: sorted(api.list_repo_files(repo, revision=commit)),
    "tree": lambda: items(api.list_repo_tree(repo)),
    "folder": lambda: items(api.list_repo_tree(repo, folder, recursive=True)),
    "paths": lambda: items(api.get_paths_info(repo, [file, folder, absent])),
    "main": lambda: [ref.target_commit for ref in api.list_repo_refs(repo).branches if ref.name == "main"],
    "exists": lambda: [api.file_exists(repo, file), api.file_exists(repo, absent)],
    "ls": lambda: sorted(fs.ls(repo, detail=False)),
    "find": lambda: sorted(fs.find(repo)),
    "glob": lambda: sorted(fs.glob(f"{repo}/**/*.txt")),
    "read": lambda: hashlib.sha256(fs.read_bytes(f"{repo}/{file}")).hexdigest(),
    "slice": lambda: fs.read_bytes(f"{repo}/{file}", start=1, end=9).hex(),
    "absentFile": lambda: download(repo, absent),
    "absentFileOfCommit": lambda: download(repo, absent, revision=commit),
    "absentFolder": lambda: items(api.list_repo_tree(repo, "no-such-folder")),
    "unknownRepo": lambda: download("acme/no-such-repo", "config.json"),
    "unknownRevision": lambda: download(repo, file, revision="no-such-branch"),
    "snapshotOfUnknown": lambda: snapshot("acme/no-such-repo"),
    "list": lambda: [model.id for model in api.list_models(author="acme")],
}

answers = {}
for name, call in CALLS.items():
    before = len(waits)
    try:
        answers[name] = {"value": call()}
    except Exception as error:
        names = [kind.__name__ for kind in type(error).__mro__]
        answers[name] = {"raised": names, "text": str(error)}
    answers[name]["waits"] = len(waits) - before
answers["said"] = {"value": "\n".join(said), "waits": 0}
print(json.dumps(answers))
