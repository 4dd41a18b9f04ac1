"""What a completion is worth, as plain functions that every party can compute again."""
