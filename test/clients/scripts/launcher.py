"""Starts another script as the launchers of LoRAX and TGI start their servers: they take HF_API_TOKEN and hand it on as
HUGGING_FACE_HUB_TOKEN.

usage: launcher.py SCRIPT [ARGUMENT]...
"""

import os
import subprocess
import sys

environment = dict(os.environ)
environment["HUGGING_FACE_HUB_TOKEN"] = environment.pop("HF_API_TOKEN")
sys.exit(subprocess.run([sys.executable, *sys.argv[1:]], env=environment, check=False).returncode)
