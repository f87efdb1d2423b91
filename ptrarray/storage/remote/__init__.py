"""Files of a store that lie elsewhere: on a web server, or in a bucket."""
