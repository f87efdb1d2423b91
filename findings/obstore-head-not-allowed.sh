#!/usr/bin/env bash
# obstore 0.12.1 (object_store 0.14.2): the head of a file from a server that has GET only is a FileNotFoundError,
# for a file that is there and can be got.
#
# The server (FastAPI 0.165.0, whose routes of GET refuse HEAD) answers 405, Method Not Allowed. HTTPStore takes
# that for 404; the status stands in the text of the error only. A GET of a range gives the same facts (size, ETag)
# without a HEAD. Output:
#
#   get               b'0123456789'
#   get of a range    b'234' size 10
#   head              FileNotFoundError, status code: 405 Method Not Allowed
#
# Ends with 0 as long as it is so, else with 1.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet obstore==0.12.1 fastapi==0.165.0 uvicorn==0.54.0
venv/bin/python - <<'PYTHON'
import pathlib
import re
import sys
import threading
import time

import fastapi
import fastapi.responses
import obstore
import uvicorn
from obstore.store import HTTPStore

pathlib.Path("data.bin").write_bytes(b"0123456789")
application = fastapi.FastAPI()


@application.get("/data.bin")
def data():
    return fastapi.responses.FileResponse("data.bin")


server = uvicorn.Server(uvicorn.Config(application, host="127.0.0.1", port=0, log_level="error"))
threading.Thread(target=server.run, daemon=True).start()
while not server.started:
    time.sleep(0.05)
port = server.servers[0].sockets[0].getsockname()[1]

store = HTTPStore.from_url(f"http://127.0.0.1:{port}", client_options={"allow_http": True})
whole = bytes(obstore.get(store, "data.bin").bytes())
print("get              ", whole)
result = obstore.get(store, "data.bin", options={"range": (2, 5)})
size = result.meta["size"]
part = bytes(result.bytes())
print("get of a range   ", part, "size", size)
said = ""
try:
    obstore.head(store, "data.bin")
except FileNotFoundError as error:
    said = "FileNotFoundError, " + re.search(r"status code: \d+ [A-Za-z ]+", str(error))[0]
print("head             ", said)
same = whole == b"0123456789" and part == b"234" and size == 10 and "405 Method Not Allowed" in said
server.should_exit = True
sys.exit(0 if same else 1)
PYTHON
