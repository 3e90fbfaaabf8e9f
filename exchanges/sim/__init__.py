"""A venue you own: the real wire protocols of OKX, Bybit and Hyperliquid on localhost, over a seeded world.

Serves what the venues document and checks what they check; imports nothing of the project but itself, so that a
misreading of a protocol cannot be shared with the code under test.
"""
