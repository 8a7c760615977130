"""What talks to a subject during a lap: paces, customers' connections, and programs beside it. It knows no scenario."""
