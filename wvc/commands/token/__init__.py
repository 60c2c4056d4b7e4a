"""Say who may read from and push to the server of this repository."""
