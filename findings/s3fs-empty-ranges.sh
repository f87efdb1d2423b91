#!/usr/bin/env bash
# s3fs 2026.9.0 (fsspec 2026.9.0, aiobotocore 3.10.0, moto 5.2.5): of a range of nothing, cat_file and cat_ranges give the whole object.
#
# `cat_file(path, start=5, end=5)` is nothing, as a slice is, for memory, local and http. s3fs asks the server for
# "bytes=5-4", which is no range, so that servers have to answer with all of the object, and takes that for the answer:
# no error, and as many bytes downloaded as the object has. One empty item in a list of ranges is enough. Output:
#
#   memory  [6, 0, 2], alone 0
#   file    [6, 0, 2], alone 0
#   s3      [6, 1024, 2], alone 1024
#
# Ends with 0 as long as it is so, else with 1.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet fsspec==2026.9.0 s3fs==2026.9.0 aiobotocore==3.10.0 'moto[server]==5.2.5'
venv/bin/python - <<'PYTHON'
import logging
import os
import sys

import fsspec
from moto.server import ThreadedMotoServer

logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer(port=0, verbose=False)
server.start()
host, port = server.get_host_and_port()
content = bytes(range(256)) * 4
s3 = fsspec.filesystem("s3", key="key", secret="secret", endpoint_url=f"http://127.0.0.1:{port}")
s3.mkdir("bucket")
stores = {
    "memory": (fsspec.filesystem("memory"), "/object"),
    "file": (fsspec.filesystem("file"), os.path.abspath("object")),
    "s3": (s3, "bucket/object"),
}
found = {}
for name, (store, path) in stores.items():
    store.pipe_file(path, content)
    sizes = [len(part) for part in store.cat_ranges([path] * 3, [3, 5, 8], [9, 5, 10])]
    found[name] = sizes, len(store.cat_file(path, start=1000, end=1000))
    print(f"{name:7} {sizes}, alone {found[name][1]}")
server.stop()
right = ([6, 0, 2], 0)
sys.exit(found != {"memory": right, "file": right, "s3": ([6, 1024, 2], 1024)})
PYTHON
