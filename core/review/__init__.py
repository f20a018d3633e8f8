"""From images to a delivery: verdicts, checks, images made anew, and what is handed over."""
