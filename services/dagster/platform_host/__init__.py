"""What the platform's own processes need: webserver, daemon and the one-shot services. No location has this package."""
