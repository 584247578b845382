"""Rendered clips on disk, as training reads them."""
