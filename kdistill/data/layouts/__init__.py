"""How photos lie on the disk: folders, lists, the revisited landmarks."""
