"""What is measured: WhatIsUp, and Baileys, each doing the same work against the same sandbox."""
