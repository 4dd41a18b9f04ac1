"""What a submission must stand before it is recorded: pure rules over batches of rows, from files to findings.

Read `datasets.py` first (the course of one screening, resumable between batches), then the rules beside it.
"""
