"""The numbering authority (付番機構): it gives every resident a number, keeps name, address, birth and sex, and mints codes.

No keeper and no bus ever has any of that. What always holds: a number is never issued twice,
retired ones included; a roll is loaded whole or not at all; a code is minted from a permanent internal id, never from the number.
Called by bodies that want codes (over the post) and by its operator (``renkei authority load``).
"""
