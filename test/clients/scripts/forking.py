"""Runs scripts, each in a process of its own, which is forked from this one: what takes longest to import is imported once, here.
huggingface_hub is not, since it reads the environment while it is imported.

in:  a JSON line {"id", "args": [script, argument...], "env", "cwd", "out", "err"}; the last two are files for what it prints
out: a JSON line {"id", "status"} when it has ended; a signal that has killed it is negative
"""

import importlib
import json
import os
import runpy
import signal
import sys

IMPORTED = (
    "asyncio concurrent.futures email.message http.cookiejar importlib.metadata inspect json logging tempfile uuid "
    "anyio.to_thread certifi charset_normalizer click filelock fsspec.asyn fsspec.callbacks h11 httpcore httpcore2 httpx httpx2 "
    "idna packaging.version requests tqdm.auto tqdm.contrib.concurrent truststore typing_extensions urllib3 yaml"
).split()
WITHIN_SECONDS = 120


def watch(task, pid):
    """Waits for the process, and says how it has ended."""
    signal.signal(signal.SIGALRM, lambda *_: os.kill(pid, signal.SIGKILL))
    signal.alarm(WITHIN_SECONDS)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.write(1, (json.dumps({"id": task["id"], "status": status}) + "\n").encode())
    os._exit(0)


def next_task():
    """Reads tasks, each of which it leaves to two processes: one that runs it, and one that waits for that. Returns in the former,
    and returns None here at the end of the input."""
    for line in sys.stdin:
        if os.fork() != 0:
            continue
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        task = json.loads(line)
        pid = os.fork()
        if pid != 0:
            watch(task, pid)
        return task
    return None


for name in IMPORTED:
    try:
        importlib.import_module(name)
    except ImportError:
        pass  # Not every environment has each of them.
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
task = next_task()
if task is not None:
    for target, path, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, task["out"], os.O_WRONLY | os.O_CREAT),
        (2, task["err"], os.O_WRONLY | os.O_CREAT),
    ):
        opened = os.open(path, flags, 0o600)
        os.dup2(opened, target)
        os.close(opened)
    sys.stdin = open(0)
    os.environ.clear()
    os.environ.update(task["env"])
    os.chdir(task["cwd"])
    sys.argv = task["args"]
    sys.path[0] = os.path.dirname(sys.argv[0])
    runpy.run_path(sys.argv[0], run_name="__main__")
