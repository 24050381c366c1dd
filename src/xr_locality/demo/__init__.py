"""The demonstration: two emulated regions, a real question, and what it saves."""
