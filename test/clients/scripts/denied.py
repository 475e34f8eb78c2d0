"""Tries each kind of write, which should fail, and prints the text of each error as JSON.

usage: denied.py REPO_ID FILE
"""

import json
import sys
from pathlib import Path

from huggingface_hub import HfApi

repo_id, path = sys.argv[1:3]
api = HfApi()
folder = str(Path(path).parent)
writes = {
    "create": lambda: api.create_repo(f"{repo_id}-new"),
    "upload": lambda: api.upload_file(path_or_fileobj=path, path_in_repo="large.bin", repo_id=repo_id),
    "folder": lambda: api.upload_folder(folder_path=folder, repo_id=repo_id, allow_patterns=["*.bin"]),
    "branch": lambda: api.create_branch(repo_id, branch="new"),
    "tag": lambda: api.create_tag(repo_id, tag="new"),
    "delete": lambda: api.delete_repo(repo_id),
}
said = {}
for name, write in writes.items():
    try:
        write()
        said[name] = "it was accepted"
    except Exception as error:  # what a user sees is the answer
        said[name] = str(error)
print(json.dumps(said))
