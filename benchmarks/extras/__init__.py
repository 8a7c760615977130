"""What is measured only when it is asked for, of WhatIsUp alone, and is text."""
