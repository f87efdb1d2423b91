"""Objects as a skeleton of tokens and the arrays that it refers to."""
