"""Susceptibility scans with known microbleeds, from anatomy and physics."""
