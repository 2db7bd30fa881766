"""What the boards' pages and the run report are made with: the page base and the charts."""
