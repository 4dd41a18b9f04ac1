"""The `coalition` command: one module per noun."""
