#!/usr/bin/env bash
# kaldiio 2.18.1 (numpy 2.4.6): reading an archive from front to back ends, without an error, after the first
# sound of an odd number of bytes. Everything behind it is missing.
#
# `write_wav` puts no padding byte behind an odd number of bytes (8 bits, one channel), but the reader of python_wave.py
# skips one. That is the first letter of the next key; keys of one letter are then empty, and an empty key is taken
# for the end of the file (`read_token` of matio.py). Longer keys lose their first letter. By the scp, everything is
# there. Output:
#
#   by the ark, keys of one letter  ['a']
#   by the ark, longer keys         ['first', 'econd', 'third']
#   by the scp                      ['a', 'b', 'c']
#
# Ends with 0 as long as it is so, else with 1.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet kaldiio==2.18.1 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import sys

import kaldiio
import numpy as np


def archive(keys):
    sound = (8000, np.arange(101, dtype=np.uint8))
    arrays = [sound, np.ones(2, np.float32), np.ones(3, np.float32)]
    kaldiio.save_ark("some.ark", dict(zip(keys, arrays)), scp="some.scp")
    return [key for key, _ in kaldiio.load_ark("some.ark")]


longer = archive(["first", "second", "third"])
short = archive(["a", "b", "c"])
by_scp = [key for key, _ in kaldiio.load_scp("some.scp").items()]
print("by the ark, keys of one letter ", short)
print("by the ark, longer keys        ", longer)
print("by the scp                     ", by_scp)
sys.exit(0 if short == ["a"] and longer == ["first", "econd", "third"] and by_scp == ["a", "b", "c"] else 1)
PYTHON
