"""Plans and reports as text, HTML and drawings."""
