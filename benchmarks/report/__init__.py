"""What is made of the figures: tables, targets, a plot, the page of results."""
