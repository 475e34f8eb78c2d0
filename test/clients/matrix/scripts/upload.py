"""Uploads a file as large.bin.

usage: upload.py WAY REPO_ID FILE, where WAY is "api" (a commit) or "file_system"
"""

import sys

way, repo_id, path = sys.argv[1:]
if way == "api":
    from huggingface_hub import HfApi

    api = HfApi()
    api.create_repo(repo_id, exist_ok=True)
    print(api.upload_file(path_or_fileobj=path, path_in_repo="large.bin", repo_id=repo_id))
else:
    from huggingface_hub import HfFileSystem

    HfFileSystem().put_file(path, f"{repo_id}/large.bin")
