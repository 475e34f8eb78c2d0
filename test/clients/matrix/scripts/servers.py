"""Downloads a model by the code of a model server's own package, and prints the SHA-256 of each file that it got.

usage: servers.py SERVER REPO_ID; endpoint, home and token come from the environment

Of the packages of vLLM and SGLang only the modules that download are run (OWN). They import the rest of their package, torch
and more, of which a download needs nothing: those modules are empty here.
"""

import hashlib
import importlib
import os
import sys
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType, SimpleNamespace

server, repo = sys.argv[1:]

LOADER = "vllm.model_executor.model_loader"
OWN = {
    "vllm.envs",
    "vllm.version",
    "vllm.transformers_utils.repo_utils",
    f"{LOADER}.base_loader",
    f"{LOADER}.default_loader",
    f"{LOADER}.weight_utils",
    "sglang.srt.model_loader.weight_utils",
}
EMPTY = {"vllm", "sglang", "torch", "transformers", "safetensors", "regex", "numpy", "pydantic"}
INDEX = "model.safetensors.index.json"


class Empty(ModuleType):
    """Stands for a module, a class, a function, a decorator or a value that is never used. It counts as false."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Empty(name)

    def __call__(self, *args, **kwargs):
        return args[0] if len(args) == 1 and callable(args[0]) and not kwargs else Empty("value")

    def __bool__(self):
        return False

    def __getitem__(self, key):
        return self

    def __or__(self, other):
        return self

    __ror__ = __or__

    def __mro_entries__(self, bases):
        return ()


class Finder:
    """Finds an empty module for all of EMPTY but OWN. The folder is the real one, so that OWN is found below it."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] not in EMPTY or name in OWN:
            return None
        spec = ModuleSpec(name, Finder, is_package=True)
        real = PathFinder.find_spec(name, path)
        spec.submodule_search_locations = list((real and real.submodule_search_locations) or [])
        return spec

    @staticmethod
    def create_module(spec):
        return Empty(spec.name)

    @staticmethod
    def exec_module(module):
        pass


def show(*paths):
    for path in paths:
        print(hashlib.sha256(Path(path).read_bytes()).hexdigest(), path)


def vllm():
    """What ModelConfig and DefaultModelLoader ask for."""
    importlib.import_module("transformers.utils").SAFE_WEIGHTS_INDEX_NAME = INDEX
    files = importlib.import_module("vllm.transformers_utils.repo_utils")
    loader = importlib.import_module(f"{LOADER}.default_loader")
    revision = files.resolve_revision(repo)
    config = SimpleNamespace(
        load_format="auto",
        download_dir=None,
        ignore_patterns=None,
        model_loader_extra_config={},
        safetensors_load_strategy=None,
    )
    prepare = loader.DefaultModelLoader(config)._prepare_weights
    show(*prepare(repo, None, revision, True, None)[1])
    assert files.file_or_path_exists(repo, "config.json", revision)
    assert files.get_hf_file_to_dict("config.json", repo, revision)["model_type"] == "bert"
    show(files.try_get_local_file(repo, "config.json", revision))


def sglang():
    """What DefaultModelLoader asks for."""
    utils = importlib.import_module("sglang.srt.utils")
    # There is nothing in the home of this program yet.
    utils.find_local_repo_dir = lambda *args: None
    weights = importlib.import_module("sglang.srt.model_loader.weight_utils")
    folder = weights.download_weights_from_hf(repo, None, ["*.safetensors", "*.bin", "*.pt"])
    weights.download_safetensors_index_file_from_hf(repo, INDEX, None)
    show(*Path(folder).glob("*.safetensors"))


def kserve():
    """What the storage initializer does with the address of a model."""
    from kserve_storage import Storage

    folder = Path(Storage.download(f"hf://{repo}", os.path.join(os.environ["HOME"], "models")))
    show(folder / "config.json", folder / "model.safetensors")


if server != "kserve":
    sys.meta_path.insert(0, Finder)
{"vllm": vllm, "sglang": sglang, "kserve": kserve}[server]()
