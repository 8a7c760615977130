"""What sessions and messages cost, of WhatIsUp and of Baileys, measured from outside. Run `make bench`; see README.md."""
