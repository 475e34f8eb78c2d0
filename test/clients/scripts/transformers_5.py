"""Loads configuration, tokenizer and weights as transformers 5 does. Without a tensor library the weights are found
by the library's own resolver, and read with numpy.

usage: transformers_5.py REPO_ID
"""

import json
import sys

import numpy
from safetensors.numpy import load_file
from transformers import AutoConfig, AutoTokenizer
from transformers.utils import cached_file, has_file

repo_id = sys.argv[1]
config = AutoConfig.from_pretrained(repo_id)
tokenizer = AutoTokenizer.from_pretrained(repo_id)
weights = load_file(cached_file(repo_id, "model.safetensors"))
print(
    json.dumps(
        {
            "modelType": config.model_type,
            "tokens": len(tokenizer("hello world")["input_ids"]),
            "finite": all(bool(numpy.isfinite(weight).all()) for weight in weights.values()),
            "tensors": len(weights),
            "hasConfig": has_file(repo_id, "config.json"),
            "hasPickle": has_file(repo_id, "pytorch_model.bin"),
            "optional": cached_file(repo_id, "generation_config.json", _raise_exceptions_for_missing_entries=False),
        }
    )
)
