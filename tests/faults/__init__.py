"""Faults that are injected from outside: proxies, kills at named points, hostile inputs."""
