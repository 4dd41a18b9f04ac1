"""What the pages show, as plain rows: pure functions from the hub's answers. No Streamlit here."""
