"""The tests: unit, store, integration, end to end, interop; see CONTRIBUTING for what each tier may use."""
