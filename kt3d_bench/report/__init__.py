"""One run as one HTML file: what it was asked for, how it trained, how it scores, and samples to look at and turn."""
