"""Arrays as other libraries have them, and theirs as ours, on the same memory."""
