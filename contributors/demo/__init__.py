"""The demonstration: four members' real text from installed packages, and a coalition's whole story on one machine."""
