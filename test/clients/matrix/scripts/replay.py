"""Plays the calls of huggingface_hub that a server makes before it serves a model, and prints the SHA-256 of each file
that it got. The servers themselves need hardware that a test does not have.

usage: replay.py SERVER REPO_ID; endpoint, home and token come from the environment
"""

import fnmatch
import hashlib
import os
import sys
from pathlib import Path

from huggingface_hub import HfApi, HfFileSystem, hf_hub_download, snapshot_download
from huggingface_hub.errors import EntryNotFoundError

server, repo = sys.argv[1:]


def show(*paths):
    for path in paths:
        print(hashlib.sha256(Path(path).read_bytes()).hexdigest(), path)


def optional(name):
    try:
        hf_hub_download(repo, name)
    except EntryNotFoundError:
        pass


def vllm():
    """vllm/transformers_utils/repo_utils.py, config.py and model_loader/weight_utils.py; SGLang has the same calls."""
    files = HfApi(library_name="vllm").list_repo_files(repo)
    assert "config.json" in files and not fnmatch.filter(files, "consolidated*.safetensors")
    show(hf_hub_download(repo, "config.json"))
    for name in ("generation_config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt"):
        optional(name)
    listed = [name.removeprefix(f"{repo}/") for name in HfFileSystem().ls(repo, detail=False)]
    assert fnmatch.filter(listed, "*.safetensors")
    folder = snapshot_download(repo, allow_patterns=["*.safetensors"])
    show(*Path(folder).glob("*.safetensors"))
    optional("model.safetensors.index.json")


def tgi():
    """text_generation_server/utils/hub.py, and cli.py download-weights; LoRAX's server has the same calls."""
    optional("adapter_config.json")
    info = HfApi().model_info(repo, revision=None)
    names = [item.rfilename for item in info.siblings if item.rfilename.endswith(".safetensors")]
    assert names
    show(*(hf_hub_download(filename=name, repo_id=repo) for name in ["config.json", *names]))


def kserve():
    """kserve_storage.py, Storage._download_hf."""
    folder = Path(snapshot_download(repo_id=repo, revision=None, local_dir=os.path.join(os.environ["HOME"], "models")))
    show(folder / "config.json", folder / "model.safetensors")


{"vllm": vllm, "tgi": tgi, "kserve": kserve}[server]()
