"""Runs python-tuf's client over a folder of metadata and prints the target it finds, or fails.

Usage: tuf_client.py SERVED KEPT TARGET: metadata to read, the client's own trusted folder, a target path.
"""

import json
import os
import sys

from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import FetcherInterface, Updater


class FolderFetcher(FetcherInterface):
    """Serves `folder:///name` from a folder; an absent file is a 404."""

    def __init__(self, folder):
        self.folder = folder

    def _fetch(self, url):
        path = os.path.join(self.folder, url.rsplit("/", 1)[1])
        if not os.path.exists(path):
            raise DownloadHTTPError("absent", 404)
        with open(path, "rb") as file:
            return iter([file.read()])


def main():
    served, kept, target = sys.argv[1:]
    os.makedirs(kept, exist_ok=True)
    bootstrap = None
    if not os.path.exists(os.path.join(kept, "root.json")):
        with open(os.path.join(served, "1.root.json"), "rb") as file:
            bootstrap = file.read()
    updater = Updater(
        metadata_dir=kept,
        metadata_base_url="folder:///",
        fetcher=FolderFetcher(served),
        bootstrap=bootstrap,
    )
    updater.refresh()
    info = updater.get_targetinfo(target)
    if info is None:
        sys.exit("no such target")
    print(json.dumps({"length": info.length, "sha256": info.hashes["sha256"], "custom": info.custom}))


main()
