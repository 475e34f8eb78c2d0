"""Reads a repo as one library does, and prints the SHA-256 of each file that it read, or the rows of a data set.

usage: read.py LIBRARY REPO_ID; endpoint, home, token and REVISION come from the environment
"""

import hashlib
import json
import os
import sys
from pathlib import Path

library, repo = sys.argv[1:3]
# As an argument, and in a path.
REVISION = {"revision": os.environ["REVISION"]} if "REVISION" in os.environ else {}
AT = "".join(f"@{revision}" for revision in REVISION.values())
PARQUET = f"hf://datasets/{repo}{AT}/data/train.parquet"


def show(*paths):
    for path in paths:
        print(hashlib.sha256(Path(path).read_bytes()).hexdigest(), path)


def rows(found):
    print(json.dumps([{"text": row["text"], "label": int(row["label"])} for row in found]))


def snapshot():
    from huggingface_hub import snapshot_download

    folder = Path(snapshot_download(repo, **REVISION))
    show(*(path for path in folder.rglob("*") if path.is_file()))


def large():
    from huggingface_hub import hf_hub_download

    show(hf_hub_download(repo, "large.bin"))


def old_large():
    """Before 0.23 a client that was killed starts again, unless it is asked to go on."""
    from huggingface_hub import hf_hub_download

    show(hf_hub_download(repo, "large.bin", resume_download=True))


def file_system():
    from huggingface_hub import HfFileSystem

    fs = HfFileSystem()
    names = [path for path in fs.ls(f"{repo}{AT}", detail=False) if path.endswith((".safetensors", ".json"))]
    assert f"{repo}{AT}/config.json" in fs.glob(f"{repo}{AT}/*.json"), names
    for name in names:
        print(hashlib.sha256(fs.read_bytes(name)).hexdigest(), name)


def transformers():
    from transformers import AutoConfig, AutoTokenizer
    from transformers.utils import cached_file

    config = AutoConfig.from_pretrained(repo, **REVISION)
    tokenizer = AutoTokenizer.from_pretrained(repo, **REVISION)
    assert config.model_type == "bert" and len(tokenizer("hello world")["input_ids"]) == 4
    show(*(cached_file(repo, name, **REVISION) for name in ("config.json", "model.safetensors")))


def load_parquet():
    from datasets import load_dataset

    rows(load_dataset(repo, data_files={"train": "data/train.parquet"}, split="train", **REVISION))


def load_json():
    from datasets import load_dataset

    rows(load_dataset(repo, data_files={"train": "data/train.jsonl"}, split="train", **REVISION))


def stream_parquet():
    from datasets import load_dataset

    rows(load_dataset(repo, data_files={"train": "data/train.parquet"}, split="train", streaming=True, **REVISION))


def stream_json():
    from datasets import load_dataset

    rows(load_dataset(repo, data_files={"train": "data/train.jsonl"}, split="train", streaming=True, **REVISION))


def pandas():
    import pandas

    rows(pandas.read_parquet(PARQUET).to_dict("records"))


def polars():
    """Its own hf:// goes to the Hub, whatever HF_ENDPOINT says."""
    import polars
    from huggingface_hub import HfFileSystem

    with HfFileSystem().open(PARQUET.removeprefix("hf://")) as file:
        rows(polars.read_parquet(file).to_dicts())


def sentence_transformers():
    from sentence_transformers import SentenceTransformer

    assert SentenceTransformer(repo, **REVISION, device="cpu").encode("hello world").shape == (16,)
    print("loaded")


def diffusers():
    from diffusers import DiffusionPipeline

    pipeline = DiffusionPipeline.from_pretrained(repo, **REVISION)
    assert pipeline(num_inference_steps=2, output_type="np").images.shape == (1, 8, 8, 3)
    print("loaded")


LIBRARIES = {
    name: call for name, call in list(globals().items()) if callable(call) and name not in ("show", "rows", "Path")
}
LIBRARIES[library]()
sys.stdout.flush()
# Threads of Arrow that still run when the interpreter ends abort the process (github.com/apache/arrow/issues/45214).
os._exit(0)
