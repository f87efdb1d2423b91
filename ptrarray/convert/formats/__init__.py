"""One module a format that is imported or exported."""
