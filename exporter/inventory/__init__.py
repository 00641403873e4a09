"""Inventory: listing, prices, first sight."""
