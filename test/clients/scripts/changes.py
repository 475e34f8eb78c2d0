"""Makes and deletes branches and tags of a repo, moves it, and deletes it. Prints, as JSON, what it reads after each.

usage: changes.py REPO_ID NEW_ID
"""

import json
import sys
import tempfile
from pathlib import Path

from huggingface_hub import HfApi, hf_hub_download

repo_id, new_id = sys.argv[1:3]
api = HfApi()


def read(name, revision="main"):
    """The text of the file, or the name of the error."""
    with tempfile.TemporaryDirectory() as cache_dir:
        try:
            return Path(hf_hub_download(name, "config.json", revision=revision, cache_dir=cache_dir)).read_text()
        except Exception as error:
            return type(error).__name__


def info(name):
    """The id that the repo has now, or the name of the error."""
    try:
        return api.model_info(name).id
    except Exception as error:
        return type(error).__name__


def names():
    refs = api.list_repo_refs(repo_id)
    return [sorted(ref.name for ref in refs.branches), sorted(ref.name for ref in refs.tags)]


# Twice: the second answer comes from what the mirror has.
said = {"before": [[read(repo_id), read(repo_id, "dev"), read(repo_id, "v1"), names()] for _ in range(2)]}
api.create_branch(repo_id, branch="dev")
api.create_tag(repo_id, tag="v1")
said["created"] = [[read(repo_id, "dev"), read(repo_id, "v1"), names()] for _ in range(2)]
api.upload_file(path_or_fileobj=b"two", path_in_repo="config.json", repo_id=repo_id, revision="dev")
said["branch moved"] = [read(repo_id), read(repo_id, "dev"), read(repo_id, "v1")]
api.delete_tag(repo_id, tag="v1")
api.create_tag(repo_id, tag="v1", revision="dev")
said["tag moved"] = [read(repo_id, "v1") for _ in range(2)]
api.delete_branch(repo_id, branch="dev")
api.delete_tag(repo_id, tag="v1")
said["deleted"] = [read(repo_id), read(repo_id, "dev"), read(repo_id, "v1"), names()]
said["new name before"] = [read(new_id), info(new_id)]
api.move_repo(from_id=repo_id, to_id=new_id)
said["moved"] = [[read(new_id), info(new_id), read(repo_id), info(repo_id)] for _ in range(2)]
api.delete_repo(new_id)
said["gone"] = [[read(new_id), info(new_id), read(repo_id), info(repo_id)] for _ in range(2)]
api.create_repo(repo_id)
api.upload_file(path_or_fileobj=b"three", path_in_repo="config.json", repo_id=repo_id)
said["new under the old name"] = [read(repo_id), info(repo_id), read(new_id), info(new_id)]
print(json.dumps(said))
