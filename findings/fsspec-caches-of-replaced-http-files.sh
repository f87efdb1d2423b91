#!/usr/bin/env bash
# fsspec 2026.9.0 (aiohttp 3.14.5): check_files=True of its cache folders does not see that a file of a web server was replaced.
#
# `check_files` is there to compare what is cached with the file as it is now. For http that is never found changed, as
# the "unique key" of such a file is made of its URL alone, though `info` has the server's ETag and Last-Modified. So
# filecache goes on with the old file, and blockcache, which fetches what it has not got, gives the beginning of the
# old file and the end of the new one in one read. No error says so. Here 3 MB of A are read a little, then replaced
# by as much of B. The server is
# a few lines of Python with ETag and ranges. Output:
#
#   info before and after: ETag changed
#   ukey before and after: same
#   filecache, check_files=True:  A at the beginning, A at the end
#   blockcache, check_files=True: A at the beginning, B at the end
#
# Ends with 0 as long as it is so, else with 1.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet fsspec==2026.9.0 aiohttp==3.14.5
venv/bin/python - <<'PYTHON'
import hashlib
import http.server
import re
import sys
import threading

import fsspec

content = b"A" * 3_000_000


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        start = int(asked[1]) if asked else 0
        end = min(int(asked[2]) + 1 if asked and asked[2] else len(content), len(content))
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(content)}")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", '"' + hashlib.sha256(content).hexdigest() + '"')
        self.send_header("Content-Length", str(end - start))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content[start:end])

    do_HEAD = do_GET

    def log_message(self, *args):
        pass


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *args):  # a client that leaves before the end
        pass


server = Server(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}/file"
web = fsspec.filesystem("http")
before = web.info(url)["ETag"], web.ukey(url)
caches = {
    kind: fsspec.filesystem(kind, target_protocol="http", cache_storage=kind, check_files=True, skip_instance_cache=True)
    for kind in ("filecache", "blockcache")
}
for cache in caches.values():
    with cache.open(url, block_size=1_000_000) as file:
        assert file.read(10) == b"A" * 10
content = b"B" * 3_000_000
after = web.info(url)["ETag"], web.ukey(url)
print("info before and after: ETag", "same" if before[0] == after[0] else "changed")
print("ukey before and after:", "same" if before[1] == after[1] else "changed")
found = {}
for kind, cache in caches.items():
    with cache.open(url, block_size=1_000_000) as file:
        first = file.read(1)
        file.seek(2_900_000)
        found[kind] = (first + file.read(1)).decode()
    print(f"{kind}, check_files=True:".ljust(29), "{} at the beginning, {} at the end".format(*found[kind]))
server.shutdown()
as_said = before[0] != after[0] and before[1] == after[1] and found == {"filecache": "AA", "blockcache": "AB"}
sys.exit(not as_said)
PYTHON
