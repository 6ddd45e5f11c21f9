"""A bank that residents open accounts at: what a private site makes of single sign-on, of signatures and of consent.

It holds no key of the nation's and no place in its network: it is registered at the portal and at the certification authorities, and knows
of a customer what they signed.
"""
