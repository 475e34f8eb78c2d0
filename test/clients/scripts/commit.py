"""Commits large and small files in one commit and as a folder, proposes a change, deletes a file, and reads each commit back.

usage: commit.py REPO_ID LARGE_FILE
"""

import hashlib
import json
import sys
import tempfile
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, hf_hub_download

repo_id, path = sys.argv[1:3]
api = HfApi()
api.create_repo(repo_id)


def read(name, revision):
    with tempfile.TemporaryDirectory() as cache_dir:
        local = hf_hub_download(repo_id, name, revision=revision, cache_dir=cache_dir)
        return hashlib.sha256(Path(local).read_bytes()).hexdigest()


def has(name, revision="main"):
    return name in api.list_repo_files(repo_id, revision=revision)


said = {}
both = [
    CommitOperationAdd(path_in_repo="large.bin", path_or_fileobj=path),
    CommitOperationAdd(path_in_repo="small.txt", path_or_fileobj=b"small"),
]
commit = api.create_commit(repo_id, operations=both, commit_message="both")
said["commit"] = [commit.oid == api.repo_info(repo_id).sha, read("large.bin", "main"), has("small.txt")]

with tempfile.TemporaryDirectory() as folder:
    (Path(folder) / "sub").mkdir()
    (Path(folder) / "sub" / "other.bin").write_bytes(b"other" * 1_000_000)
    (Path(folder) / "sub" / "note.txt").write_text("a note")
    proposed = api.upload_folder(repo_id=repo_id, folder_path=folder, create_pr=True)
    said["proposal"] = [
        proposed.pr_num,
        has("sub/other.bin"),
        has("sub/note.txt", proposed.pr_revision),
        read("sub/other.bin", proposed.pr_revision),
    ]
    api.upload_folder(repo_id=repo_id, folder_path=folder)
    said["folder"] = [has("sub/other.bin"), read("sub/other.bin", "main")]

gone = [CommitOperationDelete(path_in_repo="small.txt")]
api.create_commit(repo_id, operations=gone, commit_message="gone")
said["deletion"] = has("small.txt")
api.create_branch(repo_id, branch="dev")
said["branch"] = [ref.name for ref in api.list_repo_refs(repo_id).branches]
print(json.dumps(said))
