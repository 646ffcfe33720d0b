"""How rules cut the world: selectors over label indexes, classes, atoms, ordered rules."""
