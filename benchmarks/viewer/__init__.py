"""A store of many names that is looked at, measured: searched, shown in a browser, shown in a notebook."""
