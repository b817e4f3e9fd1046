"""What the ablations share: a queue of trainings, their drafts and scores, tables over seeds, plots."""
