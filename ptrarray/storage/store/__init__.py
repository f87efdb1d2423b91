"""What lies on the disk: an index, a journal, and both read as one snapshot."""
