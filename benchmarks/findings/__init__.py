"""What a run found: kept in its folder, each figure named, costs fitted, goals held against it."""
