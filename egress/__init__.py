"""The only door out to the network. Knows no models and no Django: configuration is passed in."""
