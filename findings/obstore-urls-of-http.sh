#!/usr/bin/env bash
# obstore 0.12.1 (object_store 0.14.2): of the URL of an HTTPStore, the user and password are not sent to the server,
# and a slash at its end is doubled in the requests, both without a word.
#
# curl, requests and aiohttp send `http://user:password@host` as an Authorization of the kind Basic.
# And `…/folder/` is the usual way to write a folder's URL; `…/folder//data.bin` is another name, which object
# stores and many servers do not know. Output:
#
#   http://user:password@HOST/folder    /folder/data.bin   Authorization None
#   http://HOST/folder/                 /folder//data.bin  Authorization None
#   default_headers instead             /folder/data.bin   Authorization Basic dXNlcjpwYXNzd29yZA==
#
# Ends with 0 as long as it is so, else with 1.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet obstore==0.12.1
venv/bin/python - <<'PYTHON'
import base64
import http.server
import sys
import threading

import obstore
from obstore.store import HTTPStore

asked = []


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        asked.append((self.path, self.headers["Authorization"]))
        self.send_response(200)
        self.send_header("Content-Length", "4")
        self.end_headers()
        self.wfile.write(b"data")

    def log_message(self, *arguments):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
host = f"127.0.0.1:{server.server_port}"
basic = "Basic " + base64.b64encode(b"user:password").decode()

for said, url, headers in (
    ("http://user:password@HOST/folder", f"http://user:password@{host}/folder", {}),
    ("http://HOST/folder/", f"http://{host}/folder/", {}),
    ("default_headers instead", f"http://{host}/folder", {"Authorization": basic}),
):
    store = HTTPStore.from_url(url, client_options={"allow_http": True, "default_headers": headers})
    obstore.get(store, "data.bin").bytes()
    print(f"{said:35} {asked[-1][0]:18} Authorization {asked[-1][1]}")
same = [("/folder/data.bin", None), ("/folder//data.bin", None), ("/folder/data.bin", basic)]
sys.exit(0 if asked == same else 1)
PYTHON
