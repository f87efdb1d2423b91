"""How arrays look: as few numbers, as pictures, as HTML and as plots."""
