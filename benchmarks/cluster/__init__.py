"""Work on clusters, measured: what writes, joins and reads stores of many machines."""
