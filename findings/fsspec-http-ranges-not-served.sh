#!/usr/bin/env bash
# fsspec 2026.9.0 (with aiohttp 3.14.5): a range of a file over http is the whole file, without an error, where the
# server does not serve ranges, as `python -m http.server` and many others do not.
#
# Such a server answers with the status 200 and the whole file, as HTTP has it (RFC 9110: a server may ignore the
# header Range); one that serves ranges says 206. `cat_file` and `cat_ranges` do not look at the status, and hand
# on what came, with more bytes than were asked for and those from the wrong place. A file that was opened says it:
# its read of a range is a ValueError. Output:
#
#   cat_file(start=20, end=30)  1000 bytes, the first is 0
#   cat_ranges([20], [30])      [1000]
#   open().read of the same     ValueError The HTTP server doesn't appear to support range requests. …
#
# Ends with 0 as long as it is so, else with 1.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet fsspec==2026.9.0 aiohttp==3.14.5
venv/bin/python - <<'PYTHON'
import http.server
import pathlib
import sys
import threading

import fsspec

folder = pathlib.Path("served")
folder.mkdir()
(folder / "data.bin").write_bytes(bytes(number % 256 for number in range(1000)))


class Quiet(http.server.SimpleHTTPRequestHandler):
    def __init__(self, *arguments):
        super().__init__(*arguments, directory=str(folder))

    def log_message(self, *arguments):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}/data.bin"

files = fsspec.filesystem("http")
one = files.cat_file(url, start=20, end=30)
print("cat_file(start=20, end=30) ", len(one), "bytes, the first is", one[0])
many = files.cat_ranges([url], [20], [30])
print("cat_ranges([20], [30])     ", [len(part) for part in many])
said = ""
try:
    with files.open(url, block_size=10, cache_type="none") as file:
        file.seek(20)
        file.read(10)
except ValueError as error:
    said = f"ValueError {error}"
print("open().read of the same    ", said[:70], "…")
sys.exit(0 if len(one) == 1000 and one[0] == 0 and len(many[0]) == 1000 and said else 1)
PYTHON
