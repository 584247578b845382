"""How the default avatar is made: data, losses, recipes, meters."""
