"""Keys that several stages take, and the checks that go with them."""
