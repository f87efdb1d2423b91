"""Files of bigarray into stores."""

from ptrarray.convert.bigarray.convert import from_bigarray

__all__ = ["from_bigarray"]
