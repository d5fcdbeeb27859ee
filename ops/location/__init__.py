"""Code locations come and go: from the template, into the running stack, and out of both."""
