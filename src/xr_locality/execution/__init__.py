"""Runs a plan: one partition in each region, boundary values between them."""
