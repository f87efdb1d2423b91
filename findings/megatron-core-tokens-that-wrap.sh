#!/usr/bin/env bash
# megatron-core 0.16.1 (torch 2.13.0): its writer keeps tokens beyond the dtype modulo its size, and checks no lengths.
#
# `IndexedDatasetBuilder` casts a tensor to the dtype it was given, as numpy does with an array: no error,
# no warning. The usual choice, `DType.optimal_dtype(vocab_size)`, is uint16 below 65500, so a token that
# was added to the tokenizer later, or -1 or -100 as a mark, becomes another token. `add_document` takes lengths
# beside the tokens: where they do not add up to the tokens, each later sequence is read from the place of another.
# Output:
#
#   65535, 65536, 70000, -100   [65535, 0, 4464, 65436]
#   2**31, 2**32 + 5 as int32   [-2147483648, 5]
#   [0 1 2 3 4] as 2 + 2, [77]  [[0, 1], [2, 3], [4]]
#
# Ends with 0 as long as it is so, else with 1.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet torch==2.13.0 numpy==2.4.6 packaging
venv/bin/pip install --quiet --no-deps megatron-core==0.16.1
venv/bin/python - 2>/dev/null <<'PYTHON'
import sys

import numpy as np
import torch
from megatron.core.datasets.indexed_dataset import DType, IndexedDataset, IndexedDatasetBuilder


def read_back(name, dtype, *documents):
    builder = IndexedDatasetBuilder(f"{name}.bin", dtype=dtype)
    for tokens, lengths in documents:
        builder.add_document(torch.tensor(tokens), lengths)
    builder.finalize(f"{name}.idx")
    dataset = IndexedDataset(name)
    return [dataset[number].tolist() for number in range(len(dataset))]


small = DType.optimal_dtype(65000)
(wrapped,) = read_back("small", small, ([65535, 65536, 70000, -100], [4]))
(large,) = read_back("large", np.int32, ([2**31, 2**32 + 5], [2]))
moved = read_back("moved", np.int32, ([0, 1, 2, 3, 4], [2, 2]), ([77], [1]))
print("65535, 65536, 70000, -100  ", wrapped)
print("2**31, 2**32 + 5 as int32  ", large)
print("[0 1 2 3 4] as 2 + 2, [77] ", moved)
seen = wrapped == [65535, 0, 4464, 65436] and large == [-(2**31), 5]
sys.exit(0 if seen and moved == [[0, 1], [2, 3], [4]] else 1)
PYTHON
