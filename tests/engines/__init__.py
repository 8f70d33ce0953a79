"""The tests that need real engines, and the set-up that gives them a docker and a podman of their own."""
