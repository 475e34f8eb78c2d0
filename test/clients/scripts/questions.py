"""Asks what a browser of repos asks: info, refs, commits, paths, lists, who am I. Prints the answers as JSON.

usage: questions.py REPO_ID PATH...
"""

import json
import sys

from huggingface_hub import HfApi

api = HfApi()
repo_id, paths = sys.argv[1], sys.argv[2:]
refs = api.list_repo_refs(repo_id, include_pull_requests=True)
print(
    json.dumps(
        {
            "sha": api.model_info(repo_id).sha,
            "branches": sorted(ref.name for ref in refs.branches),
            "tags": sorted(ref.name for ref in refs.tags),
            "proposals": sorted(ref.ref for ref in refs.pull_requests or []),
            "commits": [commit.commit_id for commit in api.list_repo_commits(repo_id)],
            "sizes": {info.path: getattr(info, "size", None) for info in api.get_paths_info(repo_id, paths)},
            "listed": sorted(model.id for model in api.list_models(author="acme", limit=100)),
            "files": sorted(api.list_repo_files(repo_id)),
        }
    )
)
