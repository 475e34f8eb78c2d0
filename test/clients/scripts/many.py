"""Runs one script again and again in this process, so that its libraries are imported once. A wait of the script is noted, and
not waited for.

usage: many.py SCRIPT
in:  a JSON line with the arguments
out: a JSON line {"status", "said", "waits": [seconds]}
"""

import io
import json
import os
import runpy
import sys
import time
import traceback

script = sys.argv[1]
answers = os.fdopen(os.dup(1), "w")
waits = []
time.sleep = waits.append
# A script that ends its process ends only itself here.
os._exit = sys.exit
said = sys.stdout = sys.stderr = io.StringIO()

for line in sys.stdin:
    sys.argv = [script, *json.loads(line)]
    status = 0
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as ending:
        status = ending.code or 0
    except Exception:
        status = 1
        traceback.print_exc()
    answers.write(json.dumps({"status": status, "said": said.getvalue(), "waits": waits}) + "\n")
    answers.flush()
    waits.clear()
    said.seek(0)
    said.truncate()
