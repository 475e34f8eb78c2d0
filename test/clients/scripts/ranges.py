"""Reads slices of a remote file through HfFileSystem and prints the sha256 of each.

usage: ranges.py PATH START:END...  where PATH is like acme/tiny/model.safetensors
"""

import hashlib
import json
import sys

from huggingface_hub import HfFileSystem

file_system = HfFileSystem()
digests = []
with file_system.open(sys.argv[1], "rb", block_size=65536) as file:
    for text in sys.argv[2:]:
        start, end = map(int, text.split(":"))
        file.seek(start)
        digests.append(hashlib.sha256(file.read(end - start)).hexdigest())
print(json.dumps({"sizeBytes": file_system.info(sys.argv[1])["size"], "digests": digests}))
