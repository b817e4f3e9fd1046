"""Training: SFT and RL through TRL, one run folder each. Importing it brings in torch only with a trainer."""
