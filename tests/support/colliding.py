"""Names that have the same hash."""

from __future__ import annotations

import itertools

# Words with the same CRC-32. They are of one length, so what is made of them collides, too.
PAIR = ("plumless", "buckeroo")
COLLIDING = ["".join(words) for words in itertools.product(PAIR, repeat=3)]
