"""Somebody's own images, without labels: brought in, looked through, and a sweep file written for them."""
