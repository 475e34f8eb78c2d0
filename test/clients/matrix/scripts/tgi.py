"""Plays the calls of huggingface_hub that the server of TGI makes before it serves a model, and prints the SHA-256 of each
file that it got: text_generation_server/utils/hub.py, and cli.py download-weights. LoRAX's server has the same calls.

usage: tgi.py REPO_ID; endpoint, home and token come from the environment
"""

import hashlib
import sys
from pathlib import Path

from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import EntryNotFoundError

repo = sys.argv[1]

try:
    hf_hub_download(repo, "adapter_config.json")
except EntryNotFoundError:
    pass
info = HfApi().model_info(repo, revision=None)
names = [item.rfilename for item in info.siblings if item.rfilename.endswith(".safetensors")]
assert names
for name in ["config.json", *names]:
    path = Path(hf_hub_download(filename=name, repo_id=repo))
    print(hashlib.sha256(path.read_bytes()).hexdigest(), path)
