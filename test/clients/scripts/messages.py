"""Reads one file, the info of its repo, who the caller is, and prints what came of each: the class of what was raised
and its words, or what was got.

usage: messages.py REPO_ID PATH
"""

import hashlib
import json
import sys
from pathlib import Path

from huggingface_hub import HfApi, hf_hub_download

repo_id, path = sys.argv[1:3]
api = HfApi()


def digest():
    return hashlib.sha256(Path(hf_hub_download(repo_id, path)).read_bytes()).hexdigest()


calls = {
    "file": digest,
    "info": lambda: api.model_info(repo_id).id,
    "whoami": lambda: api.whoami()["name"],
}
answers = {}
for name, call in calls.items():
    try:
        answers[name] = {"got": call()}
    except Exception as error:  # what a user sees is the answer
        answers[name] = {"raised": type(error).__name__, "message": str(error)}
print(json.dumps(answers))
