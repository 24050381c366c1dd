"""The executable form of a plan, and the rewriters of its graphs."""
