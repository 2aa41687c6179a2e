"""ResearchFlow."""
