"""Prints, as exports for a shell, the variables by which uv asks the package index that the configuration of pip names. A
variable of uv that is set already stays as it is.
"""

import ast
import os
import shlex
import subprocess
import sys

# In the order of precedence.
SECTIONS = ("global", "install", ":env:")


def configuration():
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], check=True, capture_output=True, text=True
    ).stdout
    found = {}
    for line in listed.splitlines():
        name, _, value = line.partition("=")
        section, _, key = name.rpartition(".")
        if section in SECTIONS:
            found.setdefault(key, {})[SECTIONS.index(section)] = str(ast.literal_eval(value))
    return {key: values[max(values)] for key, values in found.items()}


pip = configuration()
variables = {
    "UV_DEFAULT_INDEX": pip.get("index-url"),
    "UV_INDEX": " ".join(pip.get("extra-index-url", "").split()),
    # pip takes the best version of all indexes, and not of the first one that has the package.
    "UV_INDEX_STRATEGY": "unsafe-best-match",
    "UV_FIND_LINKS": ",".join(pip.get("find-links", "").split()),
    "UV_NO_INDEX": pip.get("no-index"),
    "UV_INSECURE_HOST": " ".join(pip.get("trusted-host", "").split()),
    "UV_HTTP_TIMEOUT": pip.get("timeout", pip.get("default-timeout")),
    "SSL_CERT_FILE": pip.get("cert"),
}
for name, value in variables.items():
    if value and name not in os.environ:
        print(f"export {name}={shlex.quote(value)}")
