"""Pictures as sparkdl 1.x handled them."""
