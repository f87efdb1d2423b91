"""Small stand-ins for large packages; a package, so that pytest collects none by its name."""
