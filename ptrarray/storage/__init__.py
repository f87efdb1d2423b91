"""Files: every system call, the journal and the index, and what is done with them."""
