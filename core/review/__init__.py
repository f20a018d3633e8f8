"""From images to a delivery: the page to look at them, verdicts, checks, images made anew, and what is handed over."""
