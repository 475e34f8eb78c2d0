"""Takes a snapshot of a repo and prints, as JSON, its commit and the sha256 of every file in it.

usage: snapshot.py REPO_ID [REVISION [REPO_TYPE]]; endpoint, home and token come from the environment. With SNAPSHOT_TIMED the
seconds of the download alone are printed too.
"""

import hashlib
import json
import os
import sys
import time
from pathlib import Path

from huggingface_hub import snapshot_download

repo_id = sys.argv[1]
revision = sys.argv[2] if len(sys.argv) > 2 else None
repo_type = sys.argv[3] if len(sys.argv) > 3 else None

started = time.monotonic()
folder = Path(snapshot_download(repo_id, revision=revision, repo_type=repo_type))
seconds = time.monotonic() - started
files = {}
for directory, _, names in os.walk(folder):
    for name in names:
        path = Path(directory, name)
        files[path.relative_to(folder).as_posix()] = hashlib.sha256(path.read_bytes()).hexdigest()
timed = {"seconds": seconds} if "SNAPSHOT_TIMED" in os.environ else {}
print(json.dumps({"commit": folder.name, "files": files, **timed}))
