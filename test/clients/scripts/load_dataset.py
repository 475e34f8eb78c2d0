# Loads a dataset, whole and streamed, and prints the rows and what the dataset is said to be.
import json
import os
import socket
import sys

resolve = socket.getaddrinfo


def resolve_localhost(host, *rest, **more):
    return resolve("localhost" if host.endswith(".localhost") else host, *rest, **more)


# RFC 6761, section 6.3. The system resolver does so only with a module that not every machine has.
socket.getaddrinfo = resolve_localhost

from datasets import load_dataset

(repo,) = sys.argv[1:]
whole = load_dataset(repo, split="train")
streamed = load_dataset(repo, split="train", streaming=True)
print(json.dumps({"rows": list(whole), "streamed": list(streamed), "description": whole.info.description}), flush=True)
# Threads of Arrow that still run when the interpreter ends abort the process (github.com/apache/arrow/issues/45214).
os._exit(0)
