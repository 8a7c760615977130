"""The upgrades, one file each; a released one is never changed again."""
