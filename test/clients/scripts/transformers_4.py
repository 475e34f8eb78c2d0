"""Loads a whole model with transformers 4 and runs it once.

usage: transformers_4.py REPO_ID
"""

import json
import sys

import numpy
from transformers import AutoTokenizer, FlaxAutoModel

repo_id = sys.argv[1]
tokenizer = AutoTokenizer.from_pretrained(repo_id)
model = FlaxAutoModel.from_pretrained(repo_id)
inputs = tokenizer("hello world", return_tensors="np")
hidden = model(input_ids=inputs["input_ids"]).last_hidden_state
print(json.dumps({"shape": list(hidden.shape), "finite": bool(numpy.isfinite(numpy.asarray(hidden)).all())}))
