"""How it is measured: in turns, in forked and fresh processes, and compared with the source."""
