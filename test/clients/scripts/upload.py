"""Creates a repo, commits a large and a small file to it, and opens a pull request.

usage: upload.py REPO_ID LARGE_FILE
"""

import json
import sys

from huggingface_hub import HfApi

repo_id, path = sys.argv[1:3]
api = HfApi()
said = {"repo": api.create_repo(repo_id).repo_id}
commit = api.upload_file(path_or_fileobj=path, path_in_repo="large.bin", repo_id=repo_id)
said["commit"] = [commit.repo_url.repo_id, commit.oid]
request = api.upload_file(path_or_fileobj=b"small", path_in_repo="small.txt", repo_id=repo_id, create_pr=True)
said["pull request"] = request.pr_num
print(json.dumps(said))
