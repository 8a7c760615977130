"""What sessions and messages cost, WhatIsUp's and Baileys', measured from outside. Run `make bench`; see README.md."""
