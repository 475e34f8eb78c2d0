"""Downloads one file and prints the sha256 of what arrived.

usage: file.py REPO_ID PATH [REVISION [REPO_TYPE [FACTOR]]]; each wait between two tries is FACTOR times as long as the library's
"""

import hashlib
import json
import sys
import time
from pathlib import Path

from huggingface_hub import hf_hub_download

repo_id, path = sys.argv[1:3]
revision = sys.argv[3] if len(sys.argv) > 3 else None
repo_type = sys.argv[4] if len(sys.argv) > 4 else None
if len(sys.argv) > 5:
    factor, sleep = float(sys.argv[5]), time.sleep
    time.sleep = lambda seconds: sleep(factor * seconds)

local = Path(hf_hub_download(repo_id, path, revision=revision, repo_type=repo_type))
print(json.dumps({"sha256": hashlib.sha256(local.read_bytes()).hexdigest()}))
