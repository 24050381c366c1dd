"""Catalogs: Intake's driver, and the region tags of entries."""
