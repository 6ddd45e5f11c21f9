"""The numbering authority (付番機構): one number per resident, tied to the four basic attributes, and the source of linkage codes.

Names, addresses, births and sexes are kept here and nowhere else in the network. What always holds: a number is never issued twice,
retired ones included; a roll is loaded whole or not at all; a code is minted from a permanent internal id, never from the number.
Called by bodies that want codes (over the post) and by its operator (``renkei authority load``).
"""
