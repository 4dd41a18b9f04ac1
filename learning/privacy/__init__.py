"""What an update may tell of the member whose text it learned from: clipped means with noise, and what they cost."""
